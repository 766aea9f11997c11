"""Threads beside the senders: a base class of watchers, listeners and publishers, and the pool that makes long prompts.

The tokenizer releases Python's lock while it encodes, so prompts are made on several cores, and the thread that admits
requests goes on with the small ones meanwhile. Forms are compiled there too. Knows neither requests nor prompts: jobs are
functions.
"""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

INLINE_BYTES = 4096
"""The most bytes of a request whose prompt is made where it arrives: some 1,000 tokens, 1.3 ms. Handing a prompt to another
thread takes some 50 us, which small ones would pay for nothing."""
LONG_BYTES = 1 << 16
"""The most bytes of a prompt that every thread of the pool makes: some 16,000 tokens, 20 ms. One makes no longer ones."""
_log = logging.getLogger(__name__)


class BackgroundThread(ABC):
    """Runs `_run` on a daemon thread named `name`, from `start()` to `stop()`. `_run` returns soon after `_stopping` is set."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stopping.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """The thread's work."""


def prompt_threads() -> int:
    """Threads of a pool: half the cores that this process may use, two to four. More do not pay: Python's lock is shared."""
    return max(2, min(4, len(os.sched_getaffinity(0)) // 2))


class PromptPool:
    """Runs jobs on `threads` threads in order of arrival. The first thread takes no long ones, so that others pass those.

    With one thread alone, that one takes all.
    """

    def __init__(self, threads: int) -> None:
        self._short: deque[tuple[int, Callable[[], None]]] = deque()
        self._long: deque[tuple[int, Callable[[], None]]] = deque()
        self._submitted = self._unfinished = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, args=(n > 0 or threads == 1,), name="prompts", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, size: int, job: Callable[[], None]) -> None:
        """Runs a job soon. `size`: bytes of its prompt. A job that fails is logged, because the others must go on."""
        with self._changed:
            self._submitted += 1
            self._unfinished += 1
            (self._long if size > LONG_BYTES else self._short).append((self._submitted, job))
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether all that was submitted has run."""
        return not self._unfinished

    def stop(self) -> None:
        """Runs what was submitted before, and ends the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, takes_long: bool) -> None:
        while True:
            with self._changed:
                while not (self._short or (takes_long and self._long)):
                    if self._stopping:
                        return
                    self._changed.wait()
                job = self._next(takes_long)
            try:
                job()
            except Exception:
                _log.exception("a prompt could not be made")
            with self._changed:
                self._unfinished -= 1

    def _next(self, takes_long: bool) -> Callable[[], None]:
        """The job that has waited longest, of those that this thread takes."""
        queues = [self._short, self._long] if takes_long else [self._short]
        return min(filter(None, queues), key=lambda queue: queue[0][0]).popleft()[1]
