"""Watches for clients that have disconnected. Asks for each a few times a second, on a thread of its own.

Asking about a client of the server is a round trip to it, so it is never done per token, and no sender waits for it. Clients
that share a connection or a process usually disconnect together, so finding one gone checks 20 others early.

What a disconnected client's request held is freed at once. Its final response, which nobody reads, is sent later: a
tritonserver 2.51 that gets it while another response to the broken stream is under way frees the stream's state twice
and aborts («double free», «prior > 0»). Knows neither replies nor Triton: questions and actions are functions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .threads import BackgroundThread

CHECK_S = 0.14
"""Seconds between two questions about one client; with the server's own delay an abandoned slot is free in 0.2 s, among
500 clients in 0.45 s."""
_MAX_CHECKS_PER_S = 1200
"""Bounds the cost of asking: beyond 168 clients each is asked less often."""
FINAL_RESPONSE_DELAY_S = 2.0
"""Seconds from finding a client gone to the final response: far more than the server takes to close a broken stream."""
_EARLY_CHECKS = 20
"""Clients asked early for each one found gone: one that leaves alone costs 20 questions, a crowd is found at once."""
_IDLE_S = 0.02


@dataclass(slots=True)
class _Watched:
    due: float
    gone: Callable[[], bool]
    on_gone: Callable[[], None]
    alive: Callable[[], bool]


class DisconnectWatcher(BackgroundThread):
    """Asks `gone()` of each request while it is `alive()`; calls `on_gone()` once, on the watcher's thread."""

    def __init__(self) -> None:
        super().__init__("disconnects")
        self._watched: deque[_Watched] = deque()
        self._delayed: deque[tuple[float, Callable[[], None]]] = deque()
        self._early_checks = 0

    def stop(self) -> None:
        """Ends the thread; final responses that were still delayed are sent now."""
        super().stop()
        self._send_delayed(float("inf"))

    def watch(self, gone: Callable[[], bool], on_gone: Callable[[], None], alive: Callable[[], bool]) -> None:
        """Watches one request. Any thread may call it."""
        self._watched.append(_Watched(self._next_due(), gone, on_gone, alive))

    def delayed_final_response(self, send: Callable[[], None]) -> None:
        """Calls `send` after FINAL_RESPONSE_DELAY_S seconds: it ends the request of a client that was found gone."""
        self._delayed.append((time.monotonic() + FINAL_RESPONSE_DELAY_S, send))

    @property
    def pending(self) -> bool:
        """Whether final responses are still delayed."""
        return bool(self._delayed)

    def _send_delayed(self, until: float) -> None:
        while self._delayed and self._delayed[0][0] <= until:
            self._delayed.popleft()[1]()

    def _next_due(self) -> float:
        return time.monotonic() + max(CHECK_S, len(self._watched) / _MAX_CHECKS_PER_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._send_delayed(time.monotonic())
            if self._watched and (self._early_checks or self._watched[0].due <= time.monotonic()):
                self._check(self._watched.popleft())
            else:
                self._early_checks = 0
                self._stopping.wait(_IDLE_S)

    def _check(self, watched: _Watched) -> None:
        if not watched.alive():
            return
        self._early_checks = max(0, self._early_checks - 1)
        if watched.gone():
            watched.on_gone()
            self._early_checks = min(self._early_checks + _EARLY_CHECKS, len(self._watched))
        else:
            watched.due = self._next_due()
            self._watched.append(watched)
