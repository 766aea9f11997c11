"""The second door to an engine that is not ours: Triton's `exec`, for servers whose gRPC this host cannot reach.

A worker thread a sequence. The thread that iterates the engine's responses also sends the answer's: with any other
thread sending beside it the stub's heap is corrupted (24.10). An abandoned or finished answer is cancelled in the
engine by stock's second request with the same id and `stop` = true.

The stub of 24.10 can lock up under many of these threads: one waits for a response, holds the response's lock and needs
Python's; another begins an `exec`, holds Python's and needs what the first one's lock keeps from being given back.
500 at once lock up within some thousand requests, whether they wait here or in Triton's queue, so no more than `AT_ONCE`
are taken. A watchdog ends a process that has not run for `LOCKED_UP_S` all the same, so that callers get an error
instead of nothing.
"""

from __future__ import annotations

import faulthandler
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import triton_python_backend_utils as pb

from ..engines.engine import EngineInfo
from ..engines.triton_model.client import LATE, backend_info
from ..engines.triton_model.facts import EngineModelFacts
from ..errors import EngineError, Unavailable
from ..serving.disconnects import FAREWELL_S, CallerWatch
from ..serving.dispatcher import Call
from ..tensors.arrays import Array
from ..tensors.engine_inputs import encode_engine_request, encode_stop_request
from ..tensors.engine_outputs import LOG_PROB_OUTPUTS, OUTPUTS, decode_beams, finish_reason
from ..types import EngineRequest, TokenChunk

AT_ONCE = 100
LOCKED_UP_S = 60
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Running:
    """One sequence in the engine."""

    request: EngineRequest
    name: str
    inference: Any
    stopped: bool = False
    tokens: int = 0
    beams: int = 1


@dataclass(eq=False, slots=True)
class _Turn:
    """A call's sequences come from several threads; one of them at a time feeds it, none after it has failed.

    `begun`: the engine has said something. `last_word`: what answers a call that was taken from its sequences.
    """

    call: Call
    lock: threading.Lock
    over: bool = False
    begun: bool = False
    last_word: Callable[[], None] | None = None


class ExecLine:
    """Drives calls against a Triton model of stock's contract. Same duties as `pipeline.Line`."""

    def __init__(self, model: str, facts: EngineModelFacts, max_in_flight: int = 0) -> None:
        self._model = model
        self._facts = facts
        self._max_in_flight = min(max_in_flight or AT_ONCE, AT_ONCE)
        self._names = map(str, itertools.count(secrets.randbits(48)))
        self._callers = CallerWatch()
        self._opening = threading.Lock()
        self._stopping = threading.Event()
        self._watchdog = threading.Thread(target=self._feed_watchdog, name="watchdog", daemon=True)
        self._calls: set[_Turn] = set()

    @property
    def in_flight(self) -> int:
        """Calls admitted and not yet answered."""
        return len(self._calls)

    def info(self) -> EngineInfo:
        return backend_info(self._facts)

    def states(self) -> dict[str, float]:
        """What the line can say of itself, for metrics."""
        return {"requests_in_flight": len(self._calls)}

    def start(self) -> None:
        self._callers.start()
        self._watchdog.start()

    def stop(self) -> None:
        self._callers.stop()
        self._stopping.set()
        self._watchdog.join()

    def _feed_watchdog(self) -> None:
        """While Python runs, puts the end off; the timer itself needs nothing of Python."""
        while not self._stopping.wait(1.0):
            faulthandler.dump_traceback_later(LOCKED_UP_S, exit=True)
        faulthandler.cancel_dump_traceback_later()

    def take(self, work: Callable[[], None]) -> None:
        """Runs a request's work, its answer included, on a thread of its own."""
        threading.Thread(target=work, daemon=True).start()

    def post(self, action: Callable[[], None]) -> None:
        """Runs what sends a response: on the thread that has the request."""
        action()

    def admit(self, call: Call, requests: Sequence[EngineRequest]) -> None:
        """Generates all sequences of a call and returns when the first, on this thread, is done.

        Raises Unavailable beyond the bound, InvalidRequest for what the engine model does not take.
        """
        if len(self._calls) >= self._max_in_flight:
            raise Unavailable(f"{len(self._calls)} requests are in flight, the most admitted at once; try again later")
        runs = [self._prepare(request) for request in requests]
        turn = _Turn(call, threading.Lock())
        self._calls.add(turn)
        self._watch(turn, runs, requests[0].queue_timeout_s)
        others = [threading.Thread(target=self._generate, args=(turn, i, runs[i])) for i in range(1, len(runs))]
        for thread in others:
            thread.start()
        self._generate(turn, 0, runs[0])
        for thread in others:
            thread.join()
        self._calls.discard(turn)
        if turn.last_word is not None:
            turn.last_word()

    def _watch(self, turn: _Turn, runs: Sequence[_Running], timeout_s: float | None) -> None:
        """The engine does not say when a request has a slot: with a timeout its first token must be there by then."""
        call = turn.call
        goodbye = partial(_say_goodbye, call)
        self._callers.watch(call.abandoned, lambda: self._withdraw(turn, runs, goodbye), lambda: turn in self._calls)
        if timeout_s is None:
            return
        due, refuse = time.monotonic() + timeout_s, partial(call.fail, Unavailable(LATE))
        self._callers.watch(
            lambda: time.monotonic() > due,
            lambda: self._withdraw(turn, runs, refuse),
            lambda: turn in self._calls and not turn.begun,
        )

    def _prepare(self, request: EngineRequest) -> _Running:
        streaming = self._facts.decoupled and request.sampling.beam_width == 1
        arrays = encode_engine_request(request, self._facts.inputs, streaming, self._facts.vocab_size)
        scored = request.sampling.logprobs is not None or request.sampling.beam_width > 1
        name = next(self._names)
        return _Running(request, name, self._inference(name, arrays, (*OUTPUTS, *(LOG_PROB_OUTPUTS if scored else ()))))

    def _inference(self, name: str, arrays: dict[str, Array], outputs: Sequence[str]) -> Any:
        return pb.InferenceRequest(
            model_name=self._model,
            request_id=name,
            requested_output_names=list(outputs),
            inputs=[pb.Tensor(n, a) for n, a in arrays.items()],
        )

    def _generate(self, turn: _Turn, index: int, run: _Running) -> None:
        try:
            for response in self._responses(run.inference):
                self._take(turn, index, run, response)
            self._end(turn, index, run)
        except Exception as error:  # whatever one call's text or engine does, its caller gets an answer
            self._fail(turn, error)

    def _responses(self, inference: Any) -> Any:
        if not self._facts.decoupled:
            return [inference.exec()]
        with self._opening:
            return inference.exec(decoupled=True)

    def _take(self, turn: _Turn, index: int, run: _Running, response: Any) -> None:
        """Feeds what a response holds; once the answer is complete, responses still under way are only counted off.

        So are those behind an error: a stub that is not asked for the last one never ends the request.
        """
        if response.has_error():
            run.stopped = True
            self._fail(turn, EngineError(response.error().message()))
            return
        outputs = {tensor.name(): tensor.as_numpy().tobytes() for tensor in response.output_tensors()}
        if run.stopped or not set(OUTPUTS) <= set(outputs):
            return
        chunks = decode_beams(outputs)
        run.tokens += len(chunks[0].token_ids)
        run.beams = len(chunks)
        for chunk in chunks:
            if self._feed(turn, index, chunk):
                self._stop(run)

    def _end(self, turn: _Turn, index: int, run: _Running) -> None:
        if run.stopped:
            return
        finish = finish_reason(run.tokens, run.request.sampling.max_tokens)
        for beam in range(run.beams):
            self._feed(turn, index, TokenChunk(finish=finish, sequence=beam, last=beam == run.beams - 1))

    def _feed(self, turn: _Turn, index: int, chunk: TokenChunk) -> bool:
        with turn.lock:
            turn.begun = True
            if turn.over:
                return True
            done = turn.call.feed(index, chunk)
            turn.call.flush()
            return done

    def _fail(self, turn: _Turn, error: Exception) -> None:
        with turn.lock:
            if not turn.over:
                turn.over = True
                turn.call.fail(error)

    def _withdraw(self, turn: _Turn, runs: Sequence[_Running], last_word: Callable[[], None]) -> None:
        """Takes a call back: the engine is told, and the call's own threads see its end."""
        with turn.lock:
            turn.last_word = None if turn.over else last_word
            turn.over = True
        for run in runs:
            self._stop(run)

    def _stop(self, run: _Running) -> None:
        if not run.stopped:
            run.stopped = True
            for _ in self._responses(self._inference(run.name, encode_stop_request(), OUTPUTS)):
                pass


def _say_goodbye(call: Call) -> None:
    """Ends the response of an abandoned call, on the thread that has the request (see callers)."""
    time.sleep(FAREWELL_S)
    call.close()
