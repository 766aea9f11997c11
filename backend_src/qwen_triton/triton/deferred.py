"""Work of requests that takes long, on a thread of its own: compiling forms, so that `execute` goes on to the next request.

Knows no requests: only what is to be run, and by which name it can be cancelled.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class DeferredWork:
    """Runs work in the order in which it came. The thread begins with the first of it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[str, Callable[[bool], None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._cancelled: set[str] = set()
        self._left = 0

    @property
    def pending(self) -> bool:
        """Whether there is work that has not ended."""
        return self._left > 0

    def put(self, name: str, work: Callable[[bool], None]) -> None:
        """Has `work` run; its argument says whether `cancel` was called for its name before. "" is no name."""
        with self._lock:
            self._left += 1
            self._queue.put((name, work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="forms", daemon=True)
                self._thread.start()

    def cancel(self, name: str) -> None:
        """Tells the work of that name, if it has not begun."""
        with self._lock:
            if self._left:
                self._cancelled.add(name)

    def stop(self) -> None:
        """Returns when all work has ended."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            name, work = entry
            try:
                work(bool(name) and name in self._cancelled)
            except Exception:
                _log.exception("a request could not be answered")
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._cancelled.clear()
