"""`qwen-triton build [DEPLOYMENT]`: builds a TensorRT-LLM engine from a checkpoint, as a deployment or flags describe it."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType

from qwen_triton.checkpoint import hub
from qwen_triton.errors import ConfigurationError
from qwen_triton.text.tokenizer import Tokenizer

from ..trtllm.gpus import Gpu, visible_gpus
from ..trtllm.plan.checkpoint_facts import CheckpointFacts
from ..trtllm.plan.steps import Step, checkpoint_dir, plan_build, shell_line
from ..trtllm.run.engine_build import EngineBuild, build_lock, certain_steps
from ..trtllm.run.manifest import Manifest
from ..trtllm.run.requirements import check_calibration, check_commands, check_disk, check_gpus, checkpoint_bytes
from ..trtllm.run.step_runner import StepFailed
from ..trtllm.tools.toolchain import (
    Installed,
    choose_release,
    find_examples,
    find_installed,
    step_environment,
)
from .build_arguments import BuildRequest, add_arguments, read_request

__all__ = ["add_arguments", "run"]
_USUAL_EXAMPLES = Path("/tensorrtllm_backend/tensorrt_llm/examples")


def run(arguments: argparse.Namespace) -> int:
    request = read_request(arguments)
    if arguments.dry_run:
        return _print_commands(request)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _build(request, arguments.force)
    except StepFailed as failure:
        print(f"qwen-triton: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nqwen-triton: stopped; what was being written is removed, the same command goes on", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"qwen-triton: {error.filename or request.engine_dir}: {error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
    raise KeyboardInterrupt


def _print_commands(request: BuildRequest) -> int:
    """Prints shell commands to stdout, and to stderr what could not be checked on this machine."""
    folder = Path(request.model).expanduser()
    known = folder.is_dir()
    if not known:
        print(f"# {request.model} is not on this machine: layers, heads and type are not checked", file=sys.stderr)
    installed = None if request.build.trtllm_version else find_installed(request.build)
    release = choose_release(request.build, installed)
    facts, model = (CheckpointFacts.read(folder), folder.resolve()) if known else (None, request.model)
    examples = request.build.examples or _USUAL_EXAMPLES
    print(f"# TensorRT-LLM {release.version}: nvcr.io/nvidia/tritonserver:{release.image}-trtllm-python-py3")
    steps = plan_build(request.build, request.engine_dir, model, facts, release, examples)
    _print_warnings(steps)
    for step in steps:
        folder_line = f"cd {shlex.quote(str(step.folder))}\n" if step.folder else ""
        print(f"\n# {step.name}\n{folder_line}{shell_line(step.command, step.environment)}")
    return 0


def _print_warnings(steps: list[Step]) -> None:
    for warning in (warning for step in steps for warning in step.warnings):
        print(f"# {warning}", file=sys.stderr)


def _build(request: BuildRequest, force: bool) -> None:
    """Checks everything that can be checked first, then runs the steps that are not done."""
    installed = find_installed(request.build)
    release = choose_release(request.build, installed)
    if installed is None:
        raise ConfigurationError(
            "no Python in PATH has tensorrt_llm; build in the image nvcr.io/nvidia/tritonserver:"
            f"{release.image}-trtllm-python-py3, or give build.python"
        )
    model = hub.resolve_model(request.model, request.hub, request.revision)
    facts = CheckpointFacts.read(model)
    Tokenizer.from_folder(model)
    examples = find_examples(request.build, release)
    steps = plan_build(request.build, request.engine_dir, model, facts, release, examples)
    _print_warnings(steps)
    environment = step_environment(installed)
    check_commands(steps, environment)
    check_calibration(request.build, steps, environment)
    gpus = visible_gpus(environment)
    _check_machine(request, facts, certain_steps(steps, request.build.world_size, force), gpus)
    with build_lock(request.engine_dir, checkpoint_dir(request.build, request.engine_dir)) as state:
        manifest = _manifest(state, installed, model)
        work = EngineBuild(steps, manifest, request.build.world_size, force)
        _check_machine(request, facts, work.open_steps, gpus)
        work.run(environment, state / "logs")
    _print_result(request, installed)


def _check_machine(request: BuildRequest, facts: CheckpointFacts, steps: list[Step], gpus: list[Gpu]) -> None:
    check_gpus(request.build, steps, gpus)
    check_disk([step.output for step in steps if step.output], checkpoint_bytes(request.build, facts))


def _manifest(state: Path, installed: Installed, model: Path) -> Manifest:
    manifest = Manifest.read(state)
    manifest.trtllm_version = installed.version
    manifest.hash_model(model, lambda name: print(f"reading {name}", file=sys.stderr))
    return manifest


def _print_result(request: BuildRequest, installed: Installed) -> None:
    ranks = request.build.world_size
    hint = f"; serve it: qwen-triton serve {request.deployment}" if request.deployment else ""
    gpus = f"{ranks} GPU{'s' if ranks > 1 else ''}"
    print(f"{request.engine_dir}: an engine for {gpus}, TensorRT-LLM {installed.version}{hint}")
