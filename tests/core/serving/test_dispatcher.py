"""The line from admitted calls to responses, on a real engine server in a thread; no Triton."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

import pytest

from qwen_triton.engines.engine import EngineInfo
from qwen_triton.engines.process.client import EngineClient, connect, read_counters
from qwen_triton.engines.process.server import EngineServer
from qwen_triton.engines.replay.engine import ReplayEngine
from qwen_triton.engines.replay.options import ReplayOptions
from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, Unavailable
from qwen_triton.serving import disconnects as callers
from qwen_triton.serving.dispatcher import Line
from qwen_triton.serving.reply import AnswerCall
from qwen_triton.serving.request_metrics import Meter
from qwen_triton.serving.text_answer import TextEncoder
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.request_parameters import limit_wait
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, GenerateRequest, SamplingParams, StopConditions
from tests.support.live.waiting import becomes

WAIT_S = 20.0


class Heard:
    """A Responder that keeps what is sent."""

    def __init__(self, request_id: str = "") -> None:
        self.request_id = request_id
        self.text = ""
        self.written: list[tuple[Mapping[str, Array], bool]] = []
        self.last: Mapping[str, Array] = {}
        self.ends = 0
        self.error: Exception | None = None
        self.left = False
        self.ended = threading.Event()

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        self.written.append((arrays, final))

    def flush(self) -> None:
        written, self.written = self.written, []
        for arrays, final in written:
            assert not self.ends
            self.text += arrays["text_output"].item().decode()
            self.last = arrays
            self._end(final)

    def fail(self, error: Exception) -> None:
        self.flush()
        assert not self.ends
        self.error = error
        self._end(True)

    def gone(self) -> bool:
        return self.left

    def _end(self, final: bool) -> None:
        self.ends += final
        if final:
            self.ended.set()


class SilentDoor:
    """A Door to an engine that says nothing of its own accord: sequences get the keys 1, 2, 3 …"""

    def __init__(self) -> None:
        self.keys = 0

    def submit(self, requests: Sequence[EngineRequest], register: Callable[[list[int]], None]) -> None:
        register(list(range(self.keys + 1, self.keys + 1 + len(requests))))
        self.keys += len(requests)

    def cancel(self, key: int) -> None: ...

    def receive(self, sink: object, timeout_s: float | None) -> None: ...

    def info(self) -> EngineInfo:
        return EngineInfo("silent", 100, 100)

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Setting:
    """An engine with options of its own, a line to it, and calls on that line."""

    def __init__(self, tokenizer: Tokenizer, **options: object) -> None:
        self.address = f"test-{uuid4()}"
        self.tokenizer = tokenizer
        self.server = EngineServer(ReplayEngine(ReplayOptions(**options)), self.address)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.server.run)
        self.meter = Meter()

    def open(self, max_in_flight: int = 0) -> Line:
        self.thread.start()
        self.line = Line(EngineClient(self.address), max_in_flight)
        self.line.start()
        return self.line

    def ask(
        self,
        text: str,
        stop: str = "",
        request_id: str = "",
        seen: Heard | None = None,
        timeout_s: float | None = None,
        sequences: int = 1,
    ) -> Heard:
        """Admits a call that echoes `text` as a stream, in so many sequences; they must begin within `timeout_s`."""
        heard = seen or Heard(request_id)
        ids = tuple(self.tokenizer.encode(text))
        asked = GenerateRequest(prompt=text, stop=StopConditions((stop,) if stop else ()), stream=True)
        request = EngineRequest(ids, SamplingParams(max_tokens=len(ids), seed=0))
        encoder = TextEncoder([asked], self.tokenizer, skip_special_tokens=True, echo=False)
        rows = [[request] * sequences]
        call = AnswerCall(heard, rows, encoder, self.meter.open(), streamed=True, keep=sequences)
        self.line.admit(call, limit_wait(call.requests, timeout_s))
        return heard

    def is_free(self) -> bool:
        counters = read_counters(self.address)
        return bool(counters["running"] == counters["waiting"] == self.line.in_flight == 0)

    def close(self) -> None:
        self.line.stop()
        self.server.stop()
        with suppress(OSError):  # a visitor, so that the server looks up and sees that it is to stop
            connect(self.address)[0].close()
        self.thread.join(WAIT_S)


@pytest.fixture
def setting(qwen3: Tokenizer) -> Iterator[Callable[..., Setting]]:
    opened: list[Setting] = []

    def build(max_in_flight: int = 0, **options: object) -> Setting:
        opened.append(Setting(qwen3, **options))
        opened[-1].open(max_in_flight)
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def test_two_hundred_calls_at_once_each_hear_their_own_text(setting: Callable[..., Setting]) -> None:
    here = setting(step_ms=1.0)
    texts = [f"number {n}: 你好 🙂 {n * n}" for n in range(200)]
    heard = [here.ask(text) for text in texts]
    assert all(h.ended.wait(WAIT_S) for h in heard)
    assert [h.text for h in heard] == texts
    assert {h.ends for h in heard} == {1}
    assert here.meter.finished == {"length": 200}
    assert here.is_free()


def test_the_first_words_of_a_call_go_before_more_of_another() -> None:
    """Both are in one lane, whose turns are taken here; the engine's part is played here as well."""
    line, order = Line(SilentDoor()), []
    for name in "abcd":
        call = AnswerCall(Heard(), [[]], None, Meter().open(), streamed=True, keep=1)  # type: ignore[arg-type]
        call.feed = lambda _, chunk, name=name: order.append((name, chunk.token_ids))  # type: ignore[method-assign,assignment,misc]
        line.admit(call, [EngineRequest((1,), SamplingParams(max_tokens=9, seed=1))])
    lane = line._lanes[0]
    line.gained(1, [1], None)
    lane.turn()
    line.gained(1, [2], None)
    line.gained(4, [3], None)
    lane.turn()
    assert order == [("a", [1]), ("d", [3]), ("a", [2])]


def test_a_stop_string_lets_go_of_the_engine(setting: Callable[..., Setting]) -> None:
    here = setting(step_ms=5.0)
    heard = here.ask("one two STOP " + "and on " * 2000, stop=" STOP")
    assert heard.ended.wait(WAIT_S)
    assert heard.text == "one two"
    assert becomes(here.is_free, 5)


def test_a_caller_that_leaves_is_let_go_of_at_once_and_answered_later(
    monkeypatch: pytest.MonkeyPatch, setting: Callable[..., Setting]
) -> None:
    """The final response must not overtake what is still under way to the stream that has broken."""
    monkeypatch.setattr(callers, "FAREWELL_S", 2.0)
    here = setting(step_ms=5.0)
    heard = here.ask("and on " * 2000)
    assert becomes(lambda: bool(heard.text), WAIT_S)
    heard.left = True
    assert becomes(here.is_free, 1.5)
    assert (heard.ends, here.line.in_flight) == (0, 0)
    assert heard.ended.wait(WAIT_S)
    assert isinstance(heard.error, Cancelled)
    assert here.meter.finished == {"cancelled": 1}


def test_a_line_that_ends_answers_those_who_have_left(
    monkeypatch: pytest.MonkeyPatch, setting: Callable[..., Setting]
) -> None:
    monkeypatch.setattr(callers, "FAREWELL_S", 3600.0)
    here = setting(step_ms=5.0)
    heard = here.ask("and on " * 2000)
    heard.left = True
    assert becomes(lambda: here.line.in_flight == 0, WAIT_S)
    here.line.stop()
    assert (heard.ends, isinstance(heard.error, Cancelled)) == (1, True)


def test_stocks_cancel_ends_the_calls_of_its_request_id(setting: Callable[..., Setting]) -> None:
    """With what they have said; others go on."""
    here = setting(step_ms=5.0)
    taken, other = here.ask("and on " * 2000, request_id="a"), here.ask("and on " * 30, request_id="b")
    assert becomes(lambda: bool(taken.text), WAIT_S)
    here.line.cancel("a")
    assert taken.ended.wait(WAIT_S)
    assert taken.last["finish_reason"].item() == b"cancelled"
    assert other.ended.wait(WAIT_S)
    assert other.text == "and on " * 30


def test_one_answer_that_cannot_be_given_does_not_end_the_line(setting: Callable[..., Setting]) -> None:
    """As when the sender of a caller that is gone raises."""
    here = setting(step_ms=1.0)

    def failing() -> None:
        raise RuntimeError("nobody to send to")

    here.line.post(failing)
    heard = here.ask("one two three")
    assert heard.ended.wait(WAIT_S)
    assert heard.text == "one two three"


def test_a_cancel_bears_with_calls_that_are_admitted_meanwhile(setting: Callable[..., Setting]) -> None:
    """The line's thread looks through the calls while other threads add theirs; here one comes at each look."""
    here = setting(step_ms=1.0)
    taken = here.ask("and on " * 2000, request_id="a")
    assert becomes(lambda: bool(taken.text), WAIT_S)

    class Wanted(str):
        def __eq__(self, other: object) -> bool:
            here.ask("one")
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    here.line.post(lambda: here.line.cancel(Wanted("a")))
    assert taken.ended.wait(WAIT_S)
    assert taken.last["finish_reason"].item() == b"cancelled"


def test_beyond_the_bound_a_call_is_unavailable(setting: Callable[..., Setting]) -> None:
    here = setting(max_in_flight=2, step_ms=5.0)
    here.ask("and on " * 100)
    here.ask("and on " * 100)
    with pytest.raises(Unavailable, match="2 requests are in flight"):
        here.ask("hello")


def test_what_the_engine_refuses_is_the_callers_fault(setting: Callable[..., Setting]) -> None:
    here = setting(vocab_size=10)
    heard = here.ask("hello")
    assert heard.ended.wait(WAIT_S)
    assert isinstance(heard.error, InvalidRequest)


def test_a_sequence_that_fails_fails_alone(setting: Callable[..., Setting]) -> None:
    here = setting(fail_after=5, step_ms=1.0)
    bad, good = here.ask("one two three four five six seven"), here.ask("one two")
    assert bad.ended.wait(WAIT_S)
    assert good.ended.wait(WAIT_S)
    assert isinstance(bad.error, EngineError)
    assert (good.text, good.error) == ("one two", None)


class _Unwritable(Heard):
    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:  # noqa: ARG002  as Heard has it
        raise RuntimeError("no such text")


class _Unreachable(Heard):
    def flush(self) -> None:
        if self.written:
            self.written = []
            raise RuntimeError("no such caller")


@pytest.mark.parametrize("kind", [_Unwritable, _Unreachable])
def test_a_caller_that_cannot_be_answered_does_not_hold_up_the_others(
    setting: Callable[..., Setting], kind: type[Heard]
) -> None:
    here = setting(step_ms=1.0)
    broken = here.ask("one two three", seen=kind())
    good = here.ask("one two three")
    assert broken.ended.wait(WAIT_S)
    assert good.ended.wait(WAIT_S)
    assert good.text == "one two three"
    assert here.is_free()


def test_tokens_that_waited_leave_together(setting: Callable[..., Setting]) -> None:
    """While a caller is slow to take a piece the engine goes on; what it made meanwhile is one piece."""

    class Slow(Heard):
        pieces = 0

        def flush(self) -> None:
            time.sleep(0.05)
            self.pieces += len(self.written)
            super().flush()

    here = setting(step_ms=1.0)
    heard = Slow()
    here.ask("and on " * 100, seen=heard)
    assert heard.ended.wait(WAIT_S)
    assert heard.text == "and on " * 100
    assert heard.pieces < 100


def test_a_call_without_a_slot_in_time_is_unavailable_and_out_of_the_queue(setting: Callable[..., Setting]) -> None:
    """Answered once; one that waits without a timeout still waits, and one that has begun in time goes on beyond it."""
    here = setting(slots=1, step_ms=5.0)
    holder = here.ask("and on " * 2000, timeout_s=0.1)
    patient, hasty = here.ask("one two"), here.ask("one two", timeout_s=0.3)
    assert hasty.ended.wait(WAIT_S)
    assert isinstance(hasty.error, Unavailable)
    assert str(hasty.error) == "no slot of the engine was free within the request's timeout; try again later"
    counters = read_counters(here.address)
    assert (counters["running"], counters["waiting"], counters["cancelled"]) == (1, 1, 1)
    assert (here.line.in_flight, holder.ends, patient.ends, hasty.ends) == (2, 0, 0, 1)
    holder.left = True
    assert patient.ended.wait(WAIT_S)
    assert holder.ended.wait(WAIT_S)
    assert (patient.text, isinstance(holder.error, Cancelled)) == ("one two", True)
    assert here.meter.finished == {"unavailable": 1, "cancelled": 1, "length": 1}
    assert here.is_free()


def test_a_call_that_has_begun_waits_for_its_other_sequences(setting: Callable[..., Setting]) -> None:
    """Three sequences on one slot: the second and third begin long after the timeout."""
    here = setting(slots=1, step_ms=5.0)
    heard = here.ask("one two three four five six seven eight", timeout_s=0.02, sequences=3)
    assert heard.ended.wait(WAIT_S)
    assert (heard.error, here.meter.finished) == (None, {"length": 3})


def test_all_sequences_of_a_call_that_timed_out_leave_the_queue(setting: Callable[..., Setting]) -> None:
    here = setting(slots=1, step_ms=5.0)
    holder = here.ask("and on " * 2000)
    heard = here.ask("one two", timeout_s=0.05, sequences=4)
    assert heard.ended.wait(WAIT_S)
    assert isinstance(heard.error, Unavailable)
    assert becomes(lambda: bool(read_counters(here.address)["waiting"] == 0), WAIT_S)
    assert not holder.ends
