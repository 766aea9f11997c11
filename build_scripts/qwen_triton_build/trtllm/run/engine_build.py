"""Runs the steps of a build that are not done, one build at a time for each engine.

A step is done while its output is complete and carries the fingerprint of its inputs. Knows no flag of any tool.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..plan.steps import Step
from .manifest import Manifest, state_folder
from .outputs import check_replaceable, missing_file, read_stamp, remove_leftovers
from .step_runner import StepRunner


@contextmanager
def build_lock(engine_dir: Path, checkpoint: Path) -> Iterator[Path]:
    """Locks the engine and the checkpoint; yields the engine's state folder. Raises ConfigurationError when one is in use."""
    folder = state_folder(engine_dir)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for output, file in (
            (engine_dir, folder / "lock"),
            (checkpoint, checkpoint.with_name(f".{checkpoint.name}.lock")),
        ):
            lock = stack.enter_context(file.open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigurationError(f"{output}: another build that writes it is running; wait for it") from None
        yield folder


def certain_steps(steps: list[Step], ranks: int, force: bool) -> list[Step]:
    """The steps that will run whatever their inputs are, because an output is missing. Known before the model is hashed."""
    for n, step in enumerate(steps):
        if force or (step.output is not None and missing_file(step.name, step.output, ranks)):
            return steps[n:]
    return []


class EngineBuild:
    """The steps of one build with their manifest. `ranks`: files that each folder must have."""

    def __init__(self, steps: list[Step], manifest: Manifest, ranks: int, force: bool) -> None:
        self._steps = steps
        self._manifest = manifest
        self._ranks = ranks
        self._fingerprints = self._chain()
        self.open_steps = self._not_done(force)
        for step in self.open_steps:
            if step.output is not None:
                check_replaceable(step.output, force)

    def _chain(self) -> dict[str, str]:
        before = ""
        prints: dict[str, str] = {}
        for step in self._steps:
            before = prints[step.name] = self._manifest.fingerprint(step, before)
        return prints

    def _not_done(self, force: bool) -> list[Step]:
        """The steps from the first that is not done: each later step reads the output of the one before."""
        for n, step in enumerate(self._steps):
            if force or not self._is_done(step):
                return self._steps[n:]
        return []

    def _is_done(self, step: Step) -> bool:
        fingerprint = self._fingerprints[step.name]
        if step.output is None:
            return self._manifest.is_done(step.name, fingerprint)
        stamp = read_stamp(step.output) or {}
        return missing_file(step.name, step.output, self._ranks) is None and stamp.get("fingerprint") == fingerprint

    def run(self, environment: Mapping[str, str], logs: Path) -> None:
        """Raises StepFailed; the steps before it stay done."""
        for n, step in enumerate(self._steps, start=1):
            title = f"[{n}/{len(self._steps)}] {step.name}: {Path(_script(step)).name}"
            if step not in self.open_steps:
                print(f"{title:<44}    done", file=sys.stderr)
                continue
            if step.output is not None:
                remove_leftovers(step.output)
            self._run_step(step, StepRunner(step, title, self._ranks, environment, logs / f"{n}-{step.name}.log"), logs)

    def _run_step(self, step: Step, runner: StepRunner, logs: Path) -> None:
        entry = {
            "command": list(step.command),
            "environment": dict(step.environment),
            "folder": str(step.folder) if step.folder else None,
            "output": str(step.output) if step.output else None,
            "fingerprint": self._fingerprints[step.name],
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "log": str(logs / f"{self._steps.index(step) + 1}-{step.name}.log"),
        }
        outcome, seconds = "broken", None
        self._manifest.record(step.name, {**entry, "outcome": "running"})
        try:
            seconds = round(runner.run({**entry, "tensorrt_llm": self._manifest.trtllm_version}), 1)
            outcome = "done"
        finally:
            self._manifest.record(step.name, {**entry, "outcome": outcome, "seconds": seconds})


def _script(step: Step) -> str:
    """The program that a step is about: the script where Python runs one."""
    return next((word for word in step.command if word.endswith(".py")), step.command[0])
