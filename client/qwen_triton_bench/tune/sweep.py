"""Measures a variant: builds, serves, loads, stops. A result file that exists is not measured again."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_triton.errors import QwenTritonError

from ..report.results import note_settings
from .variant import Variant


@dataclass(frozen=True)
class Outcome:
    """A variant's figures, or the reason why it has none. `made`: measured by this command, not by an earlier one."""

    variant: Variant
    figures: dict[str, Any] | None
    reason: str = ""
    made: bool = True


_ENGINE_SAYS = "the engine did not start: "
Bench = Callable[[Sequence[str]], int]
"""Runs a load, given as a command line, and writes its result file. Returns the exit code."""


def run_variant(variant: Variant, load: Sequence[str], bench: Bench) -> Outcome:
    """Measures a variant. Raises KeyboardInterrupt after removing the result when the load was interrupted."""
    if variant.result.is_file():
        return Outcome(variant, json.loads(variant.result.read_text())["figures"], made=False)
    if variant.builds and (reason := _build(variant)):
        return Outcome(variant, None, reason)
    output = io.StringIO()
    mode, *rest = load
    command = [mode, "--deployment", str(variant.file), "--json", str(variant.result), "--name", variant.setting.name]
    try:
        with contextlib.redirect_stdout(output):
            bench([*command, *rest])
    except QwenTritonError as error:
        return Outcome(variant, None, _reason(str(error)))
    finally:
        variant.result.with_suffix(".txt").write_text(output.getvalue(), encoding="utf-8")
    data = json.loads(variant.result.read_text())
    if data["interrupted"]:
        variant.result.unlink()
        raise KeyboardInterrupt
    note_settings(variant.result, variant.setting.values)
    return Outcome(variant, data["figures"])


def _reason(message: str) -> str:
    """The line of an error that says most: what the engine itself has said, else the last one."""
    lines = message.splitlines()
    own = (line.partition(_ENGINE_SAYS)[2] for line in lines if _ENGINE_SAYS in line)
    return next(own, lines[-1]).strip(' "')


def _build(variant: Variant) -> str:
    """Builds the variant's engine unless it is built. Returns the last line of the error, or an empty text."""
    done = subprocess.run(
        [sys.executable, "-m", "qwen_triton_build.cli", "build", str(variant.file)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    variant.result.with_suffix(".build.txt").write_text("\n".join(lines), encoding="utf-8")
    return f"build: {lines[-1] if lines else done.returncode}" if done.returncode else ""
