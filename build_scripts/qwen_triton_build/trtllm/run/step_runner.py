"""Runs one step: starts its process, writes its log, shows progress, and puts the output in place at the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen_triton.errors import QwenTritonError

from ...processes import ChildProcess
from ..plan.steps import Step, shell_line
from .outputs import aside, missing_file, put_in_place, write_stamp

_POLL_S = 0.2
_GRACE_S = 10.0
_REPORT_EVERY_S = 30.0
_TAIL_BYTES = 16 << 10
_WIDTH = 100


class StepFailed(QwenTritonError):
    """A step ended without its output; the message says why, as far as its log tells, and where the log is."""


class StepRunner:
    """Runs a step of a build of `ranks` ranks; `log` is replaced."""

    def __init__(self, step: Step, title: str, ranks: int, environment: Mapping[str, str], log: Path) -> None:
        self._step = step
        self._title = title
        self._ranks = ranks
        self._environment = {**environment, **step.environment}
        self._log = log
        self._reported_s = 0.0

    def run(self, stamp: Mapping[str, Any]) -> float:
        """Runs the step; returns its seconds. The output carries `stamp`. Raises StepFailed; removes a partial output."""
        started = time.monotonic()
        if self._step.output is None:
            self._execute(list(self._step.command))
        else:
            self._write(self._step.output, stamp)
        seconds = time.monotonic() - started
        self._show(f"{self._title:<44}{seconds:8.1f} s", end=True)
        return seconds

    def _write(self, output: Path, stamp: Mapping[str, Any]) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = aside(output)
        try:
            self._execute(self._step.command_into(folder))
            missing = missing_file(self._step.name, folder, self._ranks) if self._step.name != "run" else None
            if missing is not None:
                raise StepFailed(f"step {self._step.name} ended well but left no {missing}; its log: {self._log}")
            write_stamp(folder, stamp)
            put_in_place(folder, output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _execute(self, command: list[str]) -> None:
        folder = self._step.folder or self._log.parent
        with self._log.open("wb") as log:
            log.write(f"# in {folder}\n{shell_line(command, self._step.environment)}\n\n".encode())
            log.flush()
            child = ChildProcess(command, self._environment, folder)
            child.start(log.fileno())
            try:
                code = self._watch(child)
            finally:
                child.stop(_GRACE_S)
                child.kill()  # workers of its session
        if code != 0:
            raise StepFailed(self._reason(code))

    def _watch(self, child: ChildProcess) -> int:
        started = time.monotonic()
        while (code := child.wait(_POLL_S)) is None:
            self._show_progress(time.monotonic() - started)
        return code

    def _show_progress(self, seconds: float) -> None:
        """Updates one line on a terminal; elsewhere prints a line every 30 seconds."""
        if not sys.stderr.isatty() and seconds - self._reported_s < _REPORT_EVERY_S:
            return
        self._reported_s = seconds
        clock = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
        self._show(f"{self._title}  {clock}  {self.last_line()}"[:_WIDTH], end=not sys.stderr.isatty())

    def _show(self, line: str, end: bool) -> None:
        start = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{start}{line}", end="\n" if end else "", file=sys.stderr, flush=True)

    def last_line(self) -> str:
        """The last line of the log that is not blank."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            text = log.read().decode("utf-8", "replace").replace("\r", "\n")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def _reason(self, code: int) -> str:
        ended = f"was ended by signal {-code}" if code < 0 else f"failed with code {code}"
        hint = (
            "; the disk is full: make room"
            if "No space left on device" in self._log.read_text("utf-8", "replace")
            else ""
        )
        return f"step {self._step.name} {ended}: {self.last_line()}{hint}; its log: {self._log}"
