"""Sends conversations at their arrival times and records the answers. Computes no figure while it runs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..prompts.prompt import Conversation, Prompt
from ..targets.target import Counts, Target
from .arrivals import Arrivals, Closed, Open
from .samples import Run, Sample

_TICK_S = 0.1
_clock = time.perf_counter


@dataclass(frozen=True)
class Bounds:
    """When a load ends: conversations sent, seconds of sending, seconds without a response from the server.

    `timeout_s`: after so many seconds the load is given up, and what is not answered has failed; None = no such bound.
    """

    conversations: int
    duration_s: float | None = None
    silence_s: float = 120.0
    timeout_s: float | None = None


@dataclass(frozen=True)
class LoadProgress:
    """State of a running load. `total`: conversations to send."""

    seconds: float
    sent: int
    ended: int
    total: int


class Load:
    """One run against one target. The target's thread delivers answers; the thread of `run` waits and watches the clock.

    `keep_text`: number of first requests whose text is recorded.
    """

    def __init__(
        self, target: Target, conversations: Sequence[Conversation], arrivals: Arrivals, bounds: Bounds, keep_text: int
    ) -> None:
        self._target = target
        self._conversations: Iterator[Conversation] = itertools.islice(
            itertools.cycle(conversations), bounds.conversations
        )
        self._arrivals = arrivals
        self._bounds = bounds
        self._keep_text = keep_text
        self._samples: list[Sample] = []
        self._turns: dict[int, Iterator[Prompt]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._last_response = self._started = 0.0
        self._open = self._ended = 0
        self._all_sent = False
        self._lost = ""
        self._deadline: float | None = None

    def run(self, on_progress: Callable[[LoadProgress], None] = lambda _: None) -> Run:
        """Runs to the end, the deadline or Ctrl-C, and returns what was recorded until then."""
        started, cpu, interrupted = _clock(), time.process_time(), False
        self._last_response = self._started = started
        if self._bounds.duration_s is not None:
            self._deadline = started + self._bounds.duration_s
        try:
            self._send_all(started, on_progress)
            self._wait(lambda: self._open == 0, started, on_progress)
        except KeyboardInterrupt:
            interrupted = True
        self._all_sent = True
        ended = _clock()
        if not interrupted and self._open == 0 and self._samples:
            ended = max(s.ended for s in self._samples if s.ended is not None)
        cpu = time.process_time() - cpu
        self._fail_open_requests()
        return Run(tuple(self._samples), started, ended, cpu, self._target.streamed, interrupted)

    def _send_all(self, started: float, on_progress: Callable[[LoadProgress], None]) -> None:
        if isinstance(self._arrivals, Closed):
            for _ in range(self._arrivals.concurrency):
                self._next_conversation()
            self._wait(lambda: self._all_sent, started, on_progress)
            return
        for offset in self._arrivals.offsets:
            due = started + offset
            if due > _clock():
                self._wait(lambda due=due: _clock() >= due, started, on_progress, due)  # type: ignore[misc]
            if self._is_full():
                self._wait(lambda: not self._is_full(), started, on_progress)
            if self._is_full() or not self._next_conversation():
                return

    def _is_full(self) -> bool:
        """Whether as many are in flight as an open loop allows."""
        most = self._arrivals.most if isinstance(self._arrivals, Open) else None
        return most is not None and self._open >= most

    def _wait(
        self,
        done: Callable[[], bool],
        started: float,
        on_progress: Callable[[LoadProgress], None],
        due: float = float("inf"),
    ) -> None:
        while not done() and not self._silent():
            self._changed.wait(max(0.0, min(_TICK_S, due - _clock())))
            self._changed.clear()
            on_progress(LoadProgress(_clock() - started, len(self._samples), self._ended, self._bounds.conversations))

    def _silent(self) -> bool:
        """Whether nothing more will come. Arrivals may have gaps, so silence counts only while requests are in flight."""
        silent = self._open > 0 and _clock() - self._last_response > self._bounds.silence_s
        return bool(self._lost) or silent or self._timed_out()

    def _timed_out(self) -> bool:
        return self._bounds.timeout_s is not None and _clock() - self._started > self._bounds.timeout_s

    def _fail_open_requests(self) -> None:
        """Marks requests in flight as failed after silence or a lost connection; after Ctrl-C they stay unfinished."""
        reason = self._lost or ("no answer in time" if self._silent() else "")
        for sample in self._samples:
            if sample.ended is None and reason:
                sample.ended, sample.error = _clock(), reason

    def _next_conversation(self) -> bool:
        """Sends the first turn of the next conversation. False when there is none or the time is over."""
        if (
            self._lost
            or self._all_sent
            or self._timed_out()
            or (self._deadline is not None and _clock() >= self._deadline)
        ):
            self._all_sent = True
            return False
        with self._lock:
            conversation = next(self._conversations, None)
        if conversation is None:
            self._all_sent = True
            self._changed.set()
            return False
        self._send(iter(conversation))
        return True

    def _send(self, turns: Iterator[Prompt]) -> bool:
        prompt = next(turns, None)
        if prompt is None:
            return False
        with self._lock:
            request = len(self._samples)
            self._samples.append(Sample(request, 0.0, prompt.input_tokens, prompt.output_tokens))
            self._turns[request] = turns
            self._open += 1
        self._samples[request].sent = _clock()
        self._target.send(request, prompt, self)
        return True

    def on_response(self, request: int, content: bytes, size: int) -> None:
        sample = self._samples[request]
        self._last_response = now = _clock()
        if not size:
            return
        sample.times.append(now)
        sample.sizes.append(size)
        if not content:
            sample.ids += size
        elif request < self._keep_text:
            sample.text.append(content)

    def on_end(self, request: int, counts: Counts) -> None:
        sample = self._samples[request]
        sample.input_tokens, sample.output_tokens, sample.cached_tokens, sample.finish_reason = counts
        self._close(sample)

    def on_error(self, request: int, kind: str) -> None:
        self._samples[request].error = kind
        self._close(self._samples[request])

    def on_lost(self, reason: str) -> None:
        self._lost = reason
        self._changed.set()

    def _close(self, sample: Sample) -> None:
        sample.ended = self._last_response = _clock()
        with self._lock:
            turns = self._turns.pop(sample.prompt)
        goes_on = sample.error is None and not self._past_deadline() and self._send(turns)
        if not goes_on and isinstance(self._arrivals, Closed):
            self._next_conversation()
        with self._lock:
            self._open -= 1
            self._ended += 1
        if self._open == 0 or self._all_sent or self._waits_for_room():
            self._changed.set()

    def _waits_for_room(self) -> bool:
        return isinstance(self._arrivals, Open) and self._arrivals.most is not None

    def _past_deadline(self) -> bool:
        return self._deadline is not None and _clock() >= self._deadline
