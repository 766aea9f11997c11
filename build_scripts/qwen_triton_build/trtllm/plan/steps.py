"""Plans the steps of a build as command lines: convert the checkpoint, build the engine, run it once.

    for step in plan_build(build, engine_dir, model, facts, release, examples):
        print(step.folder, shlex.join(step.command))

Folders on a command line end in a slash, so that they read as folders. While a step runs, it writes to a folder beside
its output (`command_into`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...deployment.build_section import Build
from ..tools.flags import FlagValues, Tool, check_raw, spell_flags
from ..tools.versions import UNTRIED, Release
from .checkpoint_facts import CheckpointFacts
from .constraints import check_constraints
from .converter_rules import OLD_LOADER, check_conversion, needs_old_loader
from .parallel import check_parallel
from .profiles import profile_flags
from .quantization import Conversion, conversion_of

StepName = Literal["convert", "build", "run"]


@dataclass(frozen=True)
class Step:
    """One command. `folder`: where it runs, None = anywhere; `output`: the folder it makes, None = none; `gpus` needed.

    `environment`: variables that it needs. `warnings`: what may go wrong, for whoever builds.
    """

    name: StepName
    command: tuple[str, ...]
    folder: Path | None
    output: Path | None
    gpus: int
    environment: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def command_into(self, folder: Path) -> list[str]:
        """The command with its output going to another folder."""
        mine = None if self.output is None else as_folder(self.output)
        return [as_folder(folder) if word == mine else word for word in self.command]


def shell_line(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A command with its variables, as a shell takes it."""
    return shlex.join([*(f"{name}={value}" for name, value in environment.items()), *command])


def as_folder(path: Path | str) -> str:
    """A folder as it stands on a command line; a hub name stays as it is."""
    return f"{str(path).rstrip('/')}/" if str(path).startswith(("/", ".", "~")) else str(path)


def plan_build(
    build: Build, engine_dir: Path, model: Path | str, facts: CheckpointFacts | None, release: Release, examples: Path
) -> list[Step]:
    """`model`: the checkpoint's folder, or a hub name not fetched yet, whose `facts` are None and not checked.

    Raises ConfigurationError for whatever the tools of `release` would refuse, drop or misread.
    """
    if facts is not None:
        check_parallel(build, facts)
    checkpoint = checkpoint_dir(build, engine_dir)
    steps = [
        _convert(build, as_folder(model), checkpoint, facts, release, examples),
        _build(build, checkpoint, engine_dir, facts, release),
    ]
    return [*steps, _run(build, as_folder(model), engine_dir, release, examples)] if build.smoke_run else steps


def checkpoint_dir(build: Build, engine_dir: Path) -> Path:
    """Where the checkpoint between the two steps goes."""
    return build.checkpoint_dir or engine_dir.with_name(f"{engine_dir.name}.checkpoint")


def _convert(
    build: Build, model: str, output: Path, facts: CheckpointFacts | None, release: Release, examples: Path
) -> Step:
    conversion = conversion_of(build, release, facts)
    check_raw("build.convert_flags", conversion.tool, release.flags, build.convert_flags)
    flags: FlagValues = {"model_dir": model, "output_dir": as_folder(output), "dtype": build.dtype, **conversion.flags}
    if build.calib_dataset is not None and conversion.calibrated:
        flags["calib_dataset"] = as_folder(build.calib_dataset)
    flags |= {name: size for name, size in (("tp_size", build.tp), ("pp_size", build.pp)) if size > 1}
    if build.workers and conversion.tool == "convert_checkpoint" and not conversion.calibrated:
        flags["workers"] = build.workers
    words = spell_flags(conversion.tool, release.flags, {**flags, **build.convert_flags})
    folder = examples / release.examples
    script = {"convert_checkpoint": "convert_checkpoint.py", "quantize": _up(release, "quantization/quantize.py")}
    command = ("python3", script[conversion.tool], *words)
    environment, warnings = _checked(build, conversion, facts, release)
    return Step("convert", command, folder, output, int(conversion.calibrated), environment, warnings)


def _checked(
    build: Build, conversion: Conversion, facts: CheckpointFacts | None, release: Release
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Environment and warnings of a conversion. Raises ConfigurationError for one that convert_checkpoint.py cannot do."""
    if facts is None:
        return {}, ()
    reason = UNTRIED.get(facts.model_type)
    untried = (f"model: {facts.model_type} was not tried: {reason}",) if reason else ()
    if conversion.tool != "convert_checkpoint":
        return {}, untried
    warnings = (*untried, *check_conversion(build, facts, release))
    return OLD_LOADER if needs_old_loader(build, facts, release) else {}, warnings


def _build(build: Build, checkpoint: Path, output: Path, facts: CheckpointFacts | None, release: Release) -> Step:
    tool: Tool = "trtllm-build"
    check_raw("build.build_flags", tool, release.flags, build.build_flags)
    flags = profile_flags(build, release, facts)
    check_constraints(build, release, flags)
    folders: FlagValues = {"checkpoint_dir": as_folder(checkpoint), "output_dir": as_folder(output)}
    workers: FlagValues = {"workers": build.workers} if build.workers else {}
    words = spell_flags(tool, release.flags, {**folders, **flags, **workers})
    return Step("build", (tool, *words), None, output, 1)


def _run(build: Build, tokenizer: str, engine_dir: Path, release: Release, examples: Path) -> Step:
    command = (
        *("python3", _up(release, "run.py"), "--input_text", build.smoke_prompt),
        *(f"--max_output_len={build.smoke_output_len}", "--tokenizer_dir", tokenizer),
        *("--engine_dir", as_folder(engine_dir)),
    )
    mpirun = ("mpirun", "-n", str(build.world_size), "--allow-run-as-root") if build.world_size > 1 else ()
    return Step("run", (*mpirun, *command), examples / release.examples, None, build.world_size)


def _up(release: Release, script: str) -> str:
    """A script of examples/, as seen from the model's folder."""
    return os.path.relpath(script, release.examples)
