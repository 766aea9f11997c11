"""Whether callers are still there: asked a few times a second for each, on a thread of its own.

The question is a round trip to the server, so it is never asked for every token, and whoever answers does not wait.
Callers leave together where they share a connection or a process: who is found gone has some others asked at once.

What a caller held is let go of as soon as it is found gone. The final response, which nobody hears, comes later: a
tritonserver 2.51 that gets it while a response to the broken stream is still under way releases the stream's state
twice, and aborts («double free», «prior > 0»).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

CHECK_S = 0.14
"""Between two questions about one caller; with the server's own delay an abandoned slot is free within 0.2 s."""
_MOST_PER_S = 3600
"""Questions a second at most: with more than 500 requests each is asked less often."""
FINAL_RESPONSE_DELAY_S = 2.0
"""From finding a caller gone to the final response: far more than the server takes to give up a broken stream."""
_NEIGHBOURS = 20
"""Others that are asked before their time for each caller that is found gone: what is spent follows what is found."""
_IDLE_S = 0.02


@dataclass(slots=True)
class _Watched:
    due: float
    gone: Callable[[], bool]
    on_gone: Callable[[], None]
    alive: Callable[[], bool]


class DisconnectWatcher:
    """Asks `gone()` of everything that is watched until it is no longer `alive()`; once it is, calls `on_gone()`."""

    def __init__(self) -> None:
        self._watched: deque[_Watched] = deque()
        self._farewells: deque[tuple[float, Callable[[], None]]] = deque()
        self._before_time = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disconnects", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; farewells that were still to come are said now."""
        self._stopping.set()
        self._thread.join()
        self._say_farewells(float("inf"))

    def watch(self, gone: Callable[[], bool], on_gone: Callable[[], None], alive: Callable[[], bool]) -> None:
        self._watched.append(_Watched(self._next_due(), gone, on_gone, alive))

    def delayed_final_response(self, action: Callable[[], None]) -> None:
        """Does this in FINAL_RESPONSE_DELAY_S seconds: it sends a final response to somebody who was found gone."""
        self._farewells.append((time.monotonic() + FINAL_RESPONSE_DELAY_S, action))

    def _say_farewells(self, until: float) -> None:
        while self._farewells and self._farewells[0][0] <= until:
            self._farewells.popleft()[1]()

    def _next_due(self) -> float:
        return time.monotonic() + max(CHECK_S, len(self._watched) / _MOST_PER_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._say_farewells(time.monotonic())
            if self._watched and (self._before_time or self._watched[0].due <= time.monotonic()):
                self._ask(self._watched.popleft())
            else:
                self._before_time = 0
                self._stopping.wait(_IDLE_S)

    def _ask(self, watched: _Watched) -> None:
        if not watched.alive():
            return
        self._before_time = max(0, self._before_time - 1)
        if watched.gone():
            watched.on_gone()
            self._before_time = min(self._before_time + _NEIGHBOURS, len(self._watched))
        else:
            watched.due = self._next_due()
            self._watched.append(watched)
