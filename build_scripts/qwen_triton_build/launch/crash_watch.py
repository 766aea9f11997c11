"""Notices a tritonserver that has crashed and does not end.

Its handler of SIGSEGV and SIGABRT makes a backtrace, which allocates memory: where the crash was in malloc, the handler waits
for ever for the lock that its own thread holds, and so does every thread that allocates there.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

_EVERY_S = 5.0
"""Between two looks; one reads a file for each of a server's threads, of which there are some 170."""
_REPORT_S = 2.0
"""How long a handler may take: with all its symbols a backtrace takes tenths of a second."""
_FATAL = {1 << (number - 1): number for number in (signal.SIGSEGV, signal.SIGABRT)}
"""What a thread in a handler of one of them blocks, by the kernel's mask: that signal alone."""
_FIELD = b"\nSigBlk:\t"


class CrashWatch:
    """Looks at the threads of `processes()` every few seconds, however often it is asked."""

    def __init__(self, processes: Callable[[], Iterable[int]], clock: Callable[[], float] = time.monotonic) -> None:
        self._processes = processes
        self._clock = clock
        self._look_at = 0.0
        self._handling: dict[int, signal.Signals] = {}

    def crashed(self) -> signal.Signals | None:
        """The signal that a thread of one of them has been handling for two looks; None otherwise."""
        now = self._clock()
        if now < self._look_at:
            return None
        seen = {thread: number for process in self._processes() for thread, number in _handling(process)}
        found = next((number for thread, number in seen.items() if self._handling.get(thread) == number), None)
        self._handling = seen
        self._look_at = now + (_REPORT_S if seen else _EVERY_S)
        return found


def _handling(process: int) -> Iterable[tuple[int, signal.Signals]]:
    """The threads of a process that handle a fatal signal; none of one that has ended."""
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{process}/task/{thread}/status", "rb", buffering=0) as file:
                status = file.read()
        except OSError:  # it has ended
            continue
        blocked = int(status.partition(_FIELD)[2][:16] or b"0", 16)
        if blocked in _FATAL:
            yield int(thread), _FATAL[blocked]
