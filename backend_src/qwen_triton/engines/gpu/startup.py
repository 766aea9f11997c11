"""The start of a library's processes, which say only in their log why one of them failed.

    with explainer.explained():
        core = VllmCore(…)      # an error of it names the cause and the remedy

Their output is passed on to this process's own; while the start lasts, so is this process's. Knows no library: each engine
has an Explainer with its library's words.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import ConfigurationError

_KEPT_LINES = 400
_READ = 1 << 16
_DRAIN_S = 0.5
"""How long the last words of a process that has failed may take to arrive."""
_MOST = 600
"""Characters of a cause."""
_RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$")
"""The last line of a traceback."""


@dataclass(frozen=True)
class Explainer:
    """The words of one library. `hidden`: what stands in place of a cause that is in the log. `prefix`: what a line of its
    processes begins with. `remedies`: (pattern of a cause, what helps); `\\1` in the latter is the pattern's first group.
    """

    hidden: re.Pattern[str]
    prefix: re.Pattern[str]
    remedies: tuple[tuple[str, str], ...]

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raises a ConfigurationError of the block again, with the cause and the remedy in its words."""
        log = _CopiedOutput()
        try:
            yield
        except ConfigurationError as error:
            log.restore()
            raise ConfigurationError(self._words(str(error), log)) from error
        finally:
            log.restore()

    def find_cause(self, lines: list[str]) -> str:
        """The message of the last error in these lines of the log that has a remedy, else of the last; empty for none."""
        found = (_RAISED.match(self.prefix.sub("", line)) for line in lines)
        raised = [m[1] for m in found if m and not self.hidden.search(m[1])]
        return next((text for text in reversed(raised) if self.find_remedy(text)), raised[-1] if raised else "")

    def find_remedy(self, cause: str) -> str:
        """What helps against a failure; empty when that is not known."""
        for pattern, remedy in self.remedies:
            if found := re.search(pattern, cause, re.DOTALL):
                return found.expand(remedy)
        return ""

    def _words(self, message: str, log: _CopiedOutput) -> str:
        hides = self.hidden.search(message)
        cause = self.find_cause(log.lines(_DRAIN_S)) if hides else message
        if not cause:
            return f"{message}; the lines above it in the log say why"
        remedy = self.find_remedy(cause)
        told = f"{message[: hides.start()]}{cause[:_MOST]}" if hides else cause
        return f"{told}; {remedy}" if remedy else told


class _CopiedOutput:
    """Sends what this process and its children print through a thread, which passes it on and keeps the last lines.

    Children that started meanwhile keep this way for good; `restore()` takes this process from it.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        sys.stdout.flush()
        sys.stderr.flush()
        self._kept: tuple[int, int] | None = (os.dup(1), os.dup(2))
        read, write = os.pipe()
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        self._thread = threading.Thread(
            target=self._copy, args=(read, os.dup(self._kept[1])), name="start-output", daemon=True
        )
        self._thread.start()

    def restore(self) -> None:
        """This process's output goes where it went before; repeatable."""
        if self._kept is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), self._kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        self._kept = None

    def lines(self, wait_s: float) -> list[str]:
        """The last lines, those included that arrive within `wait_s` seconds."""
        self._thread.join(wait_s)
        return list(self._lines)

    def _copy(self, read: int, to: int) -> None:
        rest = b""
        with contextlib.suppress(OSError):  # nobody reads this process's output any more
            while data := os.read(read, _READ):
                os.write(to, data)
                *whole, rest = (rest + data).split(b"\n")
                rest = rest[-_READ:]
                self._lines.extend(line.decode("utf-8", "replace") for line in whole)
        os.close(read)
        os.close(to)
