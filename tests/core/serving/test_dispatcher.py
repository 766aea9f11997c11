"""Dispatcher: requests from admission to their last response, on a real engine server in a thread; no Triton."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest

from qwen_triton.engines.engine import EngineInfo
from qwen_triton.engines.process.client import EngineClient, connect, read_counters
from qwen_triton.engines.process.server import EngineServer
from qwen_triton.engines.replay.engine import ReplayEngine
from qwen_triton.engines.replay.options import ReplayOptions
from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, Unavailable
from qwen_triton.serving import disconnects
from qwen_triton.serving.dispatcher import Dispatcher
from qwen_triton.serving.reply import Preparation, Reply, RowPlan
from qwen_triton.serving.request_metrics import RequestMetrics
from qwen_triton.serving.text_answer import TextEncoder
from qwen_triton.serving.threads import PromptPool
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.request_parameters import limit_wait
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, GenerateRequest, SamplingParams, StopConditions, TokenChunk
from tests.core.serving.test_sender import RecordedReply
from tests.support.live.waiting import becomes

WAIT_S = 20.0


class RecordingResponder:
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


class SilentLink:
    """An EngineLink to an engine that sends nothing; keeps the keys that it was given, in order."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.cancelled: list[int] = []

    def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        self.keys += [key for key, _ in requests]

    def cancel(self, key: int) -> None:
        self.cancelled.append(key)

    def finish(self, key: int) -> bool:  # noqa: ARG002  the link's signature
        return False

    def receive(self, receiver: object, timeout_s: float | None) -> None: ...

    def info(self) -> EngineInfo:
        return EngineInfo("silent", 100, 100)

    def wake(self) -> None: ...

    def close(self) -> None: ...


class ServedReplay:
    """A replay engine with options of its own, its dispatcher, and requests admitted there."""

    def __init__(self, tokenizer: Tokenizer, **options: object) -> None:
        self.folder = Path(mkdtemp(dir="/dev/shm"))
        self.address = str(self.folder / "engine")
        self.tokenizer = tokenizer
        self.server = EngineServer(ReplayEngine(ReplayOptions(**options)), self.address)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.server.run)
        self.metrics = RequestMetrics()

    def open(self, max_in_flight: int = 0) -> Dispatcher:
        self.thread.start()
        self.dispatcher = Dispatcher(EngineClient(lambda: self.address), max_in_flight)
        self.dispatcher._pool = PromptPool(2)  # as on a machine with few cores: one of them takes long prompts
        self.dispatcher.start()
        return self.dispatcher

    def ask(
        self,
        text: str,
        stop: str = "",
        request_id: str = "",
        seen: RecordingResponder | None = None,
        timeout_s: float | None = None,
        sequences: int = 1,
        call: str = "",
        through_server: bool = True,
    ) -> RecordingResponder:
        """Admits a request that echoes `text` as a stream, in so many sequences; they must begin within `timeout_s`."""
        received = seen or RecordingResponder(request_id)
        reply = self.reply(text, received, stop, sequences, call, through_server)
        self.dispatcher.admit(reply, limit_wait(reply.requests, timeout_s))
        return received

    def reply(
        self,
        text: str,
        received: RecordingResponder,
        stop: str = "",
        sequences: int = 1,
        call: str = "",
        through_server: bool = True,
    ) -> Reply:
        """The reply of a request that echoes `text`, not admitted yet."""
        ids = tuple(self.tokenizer.encode(text))
        sent = GenerateRequest(prompt=text, stop=StopConditions((stop,) if stop else ()), stream=True)
        request = EngineRequest(ids, SamplingParams(max_tokens=len(ids), seed=0))
        encoder = TextEncoder([sent], self.tokenizer, skip_special_tokens=True, echo=False)
        rows = [RowPlan([request] * sequences, streamed=True, keep=sequences)]
        timer = self.metrics.start()
        return Reply(received, rows, encoder, timer, at_once=False, call=call, through_server=through_server)

    def is_free(self) -> bool:
        counters = read_counters(self.address)
        return bool(counters["running"] == counters["waiting"] == self.dispatcher.in_flight == 0)

    def close(self) -> None:
        self.dispatcher.stop()
        self.server.stop()
        with suppress(OSError):  # a visitor, so that the server looks up and sees that it is to stop
            connect(self.address)[0].close()
        self.thread.join(WAIT_S)
        rmtree(self.folder)


@pytest.fixture
def setting(qwen3: Tokenizer) -> Iterator[Callable[..., ServedReplay]]:
    opened: list[ServedReplay] = []

    def build(max_in_flight: int = 0, **options: object) -> ServedReplay:
        opened.append(ServedReplay(qwen3, **options))
        opened[-1].open(max_in_flight)
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def test_two_hundred_requests_at_once_each_get_their_own_text(setting: Callable[..., ServedReplay]) -> None:
    here = setting(step_ms=1.0)
    texts = [f"number {n}: 你好 🙂 {n * n}" for n in range(200)]
    received = [here.ask(text) for text in texts]
    assert all(h.ended.wait(WAIT_S) for h in received)
    assert [h.text for h in received] == texts
    assert {h.ends for h in received} == {1}
    assert here.metrics.finished == {"length": 200}
    assert here.is_free()


def test_the_first_chunk_of_a_request_goes_before_more_of_another() -> None:
    """Both belong to one sender, whose batches are sent here; the engine's part is played here as well."""
    link, order = SilentLink(), []
    dispatcher = Dispatcher(link)
    for name in range(4):
        reply = RecordedReply(name, lambda name, chunk: order.append((name, chunk.token_ids)))
        dispatcher.admit(reply, reply.requests)
    sender = dispatcher._senders[0]
    first, last = link.keys[0], link.keys[3]
    dispatcher.on_chunk(first, TokenChunk([1]))
    sender.send_batch()
    dispatcher.on_chunk(first, TokenChunk([2]))
    dispatcher.on_chunk(last, TokenChunk([3]))
    sender.send_batch()
    assert order == [(0, [1]), (3, [3]), (0, [2])]


def test_a_request_that_does_not_reach_the_engine_is_answered_by_its_sender() -> None:
    """Once, with the reason: who admitted it has nothing to do."""

    class NoEngine(SilentLink):
        def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:  # noqa: ARG002  as the link has it
            raise Unavailable("the engine is not running")

    metrics, responder = RequestMetrics(), RecordingResponder()
    dispatcher = Dispatcher(NoEngine())
    plan = RowPlan([EngineRequest((1,), SamplingParams(max_tokens=9, seed=1))], streamed=True, keep=1)
    reply = Reply(responder, [plan], None, metrics.start(), at_once=False)  # type: ignore[arg-type]  no text
    dispatcher.admit(reply, reply.requests)
    assert (responder.ends, dispatcher.in_flight) == (0, 1)
    dispatcher._senders[0].send_batch()
    assert (responder.ends, str(responder.error), dispatcher.in_flight) == (1, "the engine is not running", 0)
    assert metrics.finished == {"unavailable": 1}


def test_a_request_cancelled_while_its_submit_waits_leaves_no_sequence_behind() -> None:
    """The engine hears of the cancel when it knows the sequence, not only before."""

    class SlowEngine(SilentLink):
        def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
            dispatcher.cancel("a")
            dispatcher._senders[0].send_batch()
            self.cancelled.clear()
            super().submit(requests)

    link, ended = SlowEngine(), []
    dispatcher = Dispatcher(link)
    reply = RecordedReply(0, lambda _, chunk: ended.append(chunk.finish))
    reply.request_id = "a"
    dispatcher.admit(reply, reply.requests)
    assert (ended, link.cancelled, dispatcher.in_flight) == (["cancelled"], link.keys, 0)


def _reply_of(prompt: int, metrics: RequestMetrics) -> tuple[RecordingResponder, Reply]:
    responder = RecordingResponder()
    plan = RowPlan([EngineRequest((prompt,), SamplingParams(max_tokens=9, seed=1))], streamed=True, keep=1)
    return responder, Reply(responder, [plan], None, metrics.start(), at_once=False)  # type: ignore[arg-type]  no text


def test_requests_that_arrive_together_are_submitted_eight_at_a_time() -> None:
    submitted: list[list[int]] = []

    class Link(SilentLink):
        def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
            submitted.append([request.token_ids[0] for _, request in requests])

    dispatcher, metrics = Dispatcher(Link()), RequestMetrics()
    with dispatcher.gathering():
        for prompt in range(11):
            _, reply = _reply_of(prompt, metrics)
            dispatcher.admit(reply, reply.requests)
    assert submitted == [list(range(8)), [8, 9, 10]]
    _, reply = _reply_of(11, metrics)
    dispatcher.admit(reply, reply.requests)
    assert submitted[2:] == [[11]]


def test_of_requests_submitted_together_only_the_one_at_fault_is_refused() -> None:
    class PickyLink(SilentLink):
        def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
            if any(request.token_ids == (2,) for _, request in requests):
                raise InvalidRequest("is not taken", "input_ids")
            super().submit(requests)

    link, metrics = PickyLink(), RequestMetrics()
    dispatcher = Dispatcher(link)
    responders = []
    with dispatcher.gathering():
        for prompt in range(4):
            responder, reply = _reply_of(prompt, metrics)
            responders.append(responder)
            dispatcher.admit(reply, reply.requests)
    for sender in dispatcher._senders:
        sender.send_batch()
    assert [str(responder.error) for responder in responders] == ["None", "None", "input_ids: is not taken", "None"]
    assert (len(link.keys), dispatcher.in_flight) == (3, 3)


def test_a_request_cancelled_before_those_it_arrived_with_are_submitted_leaves_no_sequence_behind() -> None:
    link, ended = SilentLink(), []
    dispatcher = Dispatcher(link)
    reply = RecordedReply(0, lambda _, chunk: ended.append(chunk.finish))
    reply.request_id = "a"
    with dispatcher.gathering():
        dispatcher.admit(reply, reply.requests)
        dispatcher.cancel("a")
        dispatcher._senders[0].send_batch()
        link.cancelled.clear()
    assert (ended, link.cancelled, dispatcher.in_flight) == (["cancelled"], link.keys, 0)


def test_a_stop_string_frees_the_engines_slot(setting: Callable[..., ServedReplay]) -> None:
    here = setting(step_ms=5.0)
    received = here.ask("one two STOP " + "and on " * 2000, stop=" STOP")
    assert received.ended.wait(WAIT_S)
    assert received.text == "one two"
    assert becomes(here.is_free, 5)


def test_a_disconnected_client_frees_its_slot_at_once_and_is_answered_later(
    monkeypatch: pytest.MonkeyPatch, setting: Callable[..., ServedReplay]
) -> None:
    """The final response must not overtake a response that is still under way to the broken stream."""
    monkeypatch.setattr(disconnects, "FINAL_RESPONSE_DELAY_S", 2.0)
    here = setting(step_ms=5.0)
    received = here.ask("and on " * 2000)
    assert becomes(lambda: bool(received.text), WAIT_S)
    received.left = True
    assert becomes(here.is_free, 1.5)
    assert (received.ends, here.dispatcher.in_flight) == (0, 0)
    assert received.ended.wait(WAIT_S)
    assert isinstance(received.error, Cancelled)
    assert here.metrics.finished == {"cancelled": 1}


def test_a_dispatcher_that_stops_answers_those_who_have_left(
    monkeypatch: pytest.MonkeyPatch, setting: Callable[..., ServedReplay]
) -> None:
    monkeypatch.setattr(disconnects, "FINAL_RESPONSE_DELAY_S", 3600.0)
    here = setting(step_ms=5.0)
    received = here.ask("and on " * 2000)
    received.left = True
    assert becomes(lambda: here.dispatcher.in_flight == 0, WAIT_S)
    here.dispatcher.stop()
    assert (received.ends, isinstance(received.error, Cancelled)) == (1, True)


def test_stocks_cancel_ends_the_requests_of_its_id(setting: Callable[..., ServedReplay]) -> None:
    """With what was generated for them; others go on."""
    here = setting(step_ms=5.0)
    taken, other = here.ask("and on " * 2000, request_id="a"), here.ask("and on " * 30, request_id="b")
    assert becomes(lambda: bool(taken.text), WAIT_S)
    here.dispatcher.cancel("a")
    assert taken.ended.wait(WAIT_S)
    assert taken.last["finish_reason"].item() == b"cancelled"
    assert other.ended.wait(WAIT_S)
    assert other.text == "and on " * 30


def test_a_call_is_cancelled_by_its_name_alone(setting: Callable[..., ServedReplay]) -> None:
    """Not by its id, which the caller chooses and others may have too."""
    here = setting(step_ms=5.0)
    taken = here.ask("and on " * 2000, request_id="a", call="one")
    other = here.ask("and on " * 30, request_id="a", call="two")
    assert becomes(lambda: bool(taken.text), WAIT_S)
    here.dispatcher.cancel(call="one")
    assert taken.ended.wait(WAIT_S)
    assert taken.last["finish_reason"].item() == b"cancelled"
    assert other.ended.wait(WAIT_S)
    assert other.text == "and on " * 30


def test_a_client_that_says_that_it_has_gone_has_no_request_more(setting: Callable[..., ServedReplay]) -> None:
    """At once, also those whose prompts are being made; those of others go on, whatever their names begin with."""
    here = setting(step_ms=5.0)
    gone = [here.ask("and on " * 2000, call=f"a.{number}", through_server=False) for number in range(2)]
    others = [here.ask("and on " * 30, call=call, through_server=False) for call in ("ab.1", "b.a.1", "a")]
    making = Making(here, "long", call="a.9")
    assert becomes(lambda: all(one.text for one in gone), WAIT_S)
    here.dispatcher.disconnected("a")
    for one in (*gone, making.received):
        assert one.ended.wait(WAIT_S)
        assert isinstance(one.error, Cancelled)
    making.go.set()
    for other in others:
        assert other.ended.wait(WAIT_S)
        assert other.text == "and on " * 30
    assert becomes(here.is_free, WAIT_S)
    assert here.metrics.finished == {"cancelled": 3, "length": 3}


def test_only_clients_of_the_server_are_asked_whether_they_are_there(setting: Callable[..., ServedReplay]) -> None:
    here = setting(step_ms=5.0)
    received = here.ask("and on " * 200, through_server=False)
    received.left = True
    assert received.ended.wait(WAIT_S)
    assert (received.error, received.text) == (None, "and on " * 200)


def test_a_drained_dispatcher_refuses_and_is_idle_once_all_is_answered(setting: Callable[..., ServedReplay]) -> None:
    here = setting(step_ms=5.0)
    assert here.dispatcher.idle()
    received = here.ask("and on " * 30)
    here.dispatcher.drain()
    with pytest.raises(Unavailable, match="the server is shutting down; try again"):
        here.ask("one more")
    assert not here.dispatcher.idle()
    assert received.ended.wait(WAIT_S)
    assert received.text == "and on " * 30
    assert becomes(here.dispatcher.idle, WAIT_S)


def test_one_answer_that_cannot_be_given_does_not_end_the_sender(setting: Callable[..., ServedReplay]) -> None:
    """As when the response sender of a disconnected client raises."""
    here = setting(step_ms=1.0)

    def failing() -> None:
        raise RuntimeError("nobody to send to")

    here.dispatcher.post(failing)
    received = here.ask("one two three")
    assert received.ended.wait(WAIT_S)
    assert received.text == "one two three"


def test_a_cancel_bears_with_requests_that_are_admitted_meanwhile(setting: Callable[..., ServedReplay]) -> None:
    """A cancel goes through the requests while other threads admit theirs; here one comes at each look."""
    here = setting(step_ms=1.0)
    taken = here.ask("and on " * 2000, request_id="a")
    assert becomes(lambda: bool(taken.text), WAIT_S)

    class Wanted(str):
        def __eq__(self, other: object) -> bool:
            here.ask("one")
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    here.dispatcher.post(lambda: here.dispatcher.cancel(Wanted("a")))
    assert taken.ended.wait(WAIT_S)
    assert taken.last["finish_reason"].item() == b"cancelled"


def test_beyond_the_bound_a_request_is_unavailable(setting: Callable[..., ServedReplay]) -> None:
    here = setting(max_in_flight=2, step_ms=5.0)
    here.ask("and on " * 100)
    here.ask("and on " * 100)
    with pytest.raises(Unavailable, match="2 requests are in flight"):
        here.ask("hello")


def test_what_the_engine_refuses_is_the_clients_fault(
    setting: Callable[..., ServedReplay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own words reach the client, as an error of the request."""

    def refuse(*_: object) -> None:
        raise InvalidRequest("the vocabulary has 10", "input_ids")

    monkeypatch.setattr(ReplayEngine, "add", refuse)
    received = setting().ask("hello")
    assert received.ended.wait(WAIT_S)
    assert isinstance(received.error, InvalidRequest)
    assert str(received.error) == "input_ids: the vocabulary has 10"


def test_a_form_that_the_engine_refuses_later_is_the_clients_fault(qwen3: Tokenizer) -> None:
    """An engine finds that a form cannot be compiled when it has taken the request."""
    link, responder = SilentLink(), RecordingResponder()
    dispatcher = Dispatcher(link)
    encoder = TextEncoder([GenerateRequest(prompt="a")], qwen3, skip_special_tokens=True, echo=False)
    rows = [RowPlan([EngineRequest((1,), SamplingParams(max_tokens=5, seed=0))], streamed=False, keep=1)]
    dispatcher.admit(reply := Reply(responder, rows, encoder, RequestMetrics().start(), at_once=False), reply.requests)
    dispatcher.on_chunk(link.keys[0], TokenChunk(finish="refused", error="it takes too long"))
    dispatcher._senders[0].send_batch()
    assert isinstance(responder.error, InvalidRequest)
    assert str(responder.error) == "guided_decoding_guide: it takes too long"
    assert responder.ends == 1


def test_a_sequence_that_fails_fails_alone(setting: Callable[..., ServedReplay]) -> None:
    here = setting(fail_after=5, step_ms=1.0)
    bad, good = here.ask("one two three four five six seven"), here.ask("one two")
    assert bad.ended.wait(WAIT_S)
    assert good.ended.wait(WAIT_S)
    assert isinstance(bad.error, EngineError)
    assert (good.text, good.error) == ("one two", None)


class _Unwritable(RecordingResponder):
    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:  # noqa: ARG002  as RecordingResponder has it
        raise RuntimeError("no such text")


class _Unreachable(RecordingResponder):
    def flush(self) -> None:
        if self.written:
            self.written = []
            raise RuntimeError("no such client")


@pytest.mark.parametrize("kind", [_Unwritable, _Unreachable])
def test_a_client_that_cannot_be_answered_does_not_hold_up_the_others(
    setting: Callable[..., ServedReplay], kind: type[RecordingResponder]
) -> None:
    here = setting(step_ms=1.0)
    broken = here.ask("one two three", seen=kind())
    good = here.ask("one two three")
    assert broken.ended.wait(WAIT_S)
    assert good.ended.wait(WAIT_S)
    assert good.text == "one two three"
    assert here.is_free()


def test_tokens_that_waited_leave_together(setting: Callable[..., ServedReplay]) -> None:
    """While a response is slow to send the engine goes on; what it generated meanwhile is one response."""

    class Slow(RecordingResponder):
        pieces = 0

        def flush(self) -> None:
            time.sleep(0.05)
            self.pieces += len(self.written)
            super().flush()

    here = setting(step_ms=1.0)
    received = Slow()
    here.ask("and on " * 100, seen=received)
    assert received.ended.wait(WAIT_S)
    assert received.text == "and on " * 100
    assert received.pieces < 100


def test_a_request_without_a_slot_in_time_is_unavailable_and_out_of_the_queue(
    setting: Callable[..., ServedReplay],
) -> None:
    """Answered once; one that waits without a timeout still waits, and one that has begun in time goes on beyond it."""
    here = setting(slots=1, step_ms=5.0)
    holder = here.ask("and on " * 2000, timeout_s=0.1)
    patient, hasty = here.ask("one two"), here.ask("one two", timeout_s=0.3)
    assert hasty.ended.wait(WAIT_S)
    assert isinstance(hasty.error, Unavailable)
    assert str(hasty.error) == "no slot of the engine was free within the request's timeout; try again later"
    counters = read_counters(here.address)
    assert (counters["running"], counters["waiting"], counters["cancelled"]) == (1, 1, 1)
    assert (here.dispatcher.in_flight, holder.ends, patient.ends, hasty.ends) == (2, 0, 0, 1)
    holder.left = True
    assert patient.ended.wait(WAIT_S)
    assert holder.ended.wait(WAIT_S)
    assert (patient.text, isinstance(holder.error, Cancelled)) == ("one two", True)
    assert here.metrics.finished == {"unavailable": 1, "cancelled": 1, "length": 1}
    assert here.is_free()


def test_a_request_that_has_begun_waits_for_its_other_sequences(setting: Callable[..., ServedReplay]) -> None:
    """Three sequences on one slot: the second and third begin long after the timeout."""
    here = setting(slots=1, step_ms=5.0)
    received = here.ask("one two three four five six seven eight", timeout_s=0.02, sequences=3)
    assert received.ended.wait(WAIT_S)
    assert (received.error, here.metrics.finished) == (None, {"length": 3})


def test_all_sequences_of_a_request_that_timed_out_leave_the_queue(setting: Callable[..., ServedReplay]) -> None:
    here = setting(slots=1, step_ms=5.0)
    holder = here.ask("and on " * 2000)
    received = here.ask("one two", timeout_s=0.05, sequences=4)
    assert received.ended.wait(WAIT_S)
    assert isinstance(received.error, Unavailable)
    assert becomes(lambda: bool(read_counters(here.address)["waiting"] == 0), WAIT_S)
    assert not holder.ends


def test_a_request_counts_as_its_sequences(setting: Callable[..., ServedReplay]) -> None:
    """Against the bound; one of more sequences than the bound is admitted when nothing else is in flight."""
    here = setting(max_in_flight=3, step_ms=5.0)
    here.ask("and on " * 100, sequences=2)
    with pytest.raises(Unavailable, match="2 sequences are in flight and 2 more are asked for; 3 are the most"):
        here.ask("and on " * 100, sequences=2)
    here.ask("and on " * 100)
    alone = setting(max_in_flight=3, step_ms=1.0).ask("one two three", sequences=4)
    assert alone.ended.wait(WAIT_S)


class Making:
    """A request whose long prompt is being made until `go` is set; with `waits` its turn need not have come."""

    def __init__(self, here: ServedReplay, text: str, **how: Any) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.received = RecordingResponder(how.get("request_id", ""))
        self._error = how.get("error")
        timer, call = here.metrics.start(), how.get("call", "")
        preparation = Preparation(
            self.received, timer, prompts=1, size=400_000, timeout_s=how.get("timeout_s"), call=call
        )
        reply = here.reply(text, self.received, sequences=how.get("sequences", 1), call=call)
        here.dispatcher.prepare(preparation, lambda: self._make(reply))
        assert how.get("waits") or self.begun.wait(WAIT_S)

    def _make(self, reply: Reply) -> Reply:
        self.begun.set()
        assert self.go.wait(WAIT_S)
        if self._error:
            raise self._error
        return reply


def test_small_requests_pass_one_whose_prompt_is_being_made(setting: Callable[..., ServedReplay]) -> None:
    """It counts as in flight, and its text is exact; nothing of it has reached the engine before."""
    here = setting(step_ms=1.0)
    long = Making(here, "long 你好 🙂")
    small = [here.ask(f"small {n}") for n in range(30)]
    assert all(one.ended.wait(WAIT_S) for one in small)
    assert [one.text for one in small] == [f"small {n}" for n in range(30)]
    assert (here.dispatcher.in_flight, here.dispatcher.idle(), read_counters(here.address)["started"]) == (1, False, 30)
    long.go.set()
    assert long.received.ended.wait(WAIT_S)
    assert (long.received.text, long.received.ends) == ("long 你好 🙂", 1)
    assert here.metrics.submitted == 1
    assert becomes(here.dispatcher.idle, WAIT_S)


@pytest.mark.parametrize("error", [InvalidRequest("no", "messages"), RuntimeError("a defect")])
def test_what_is_wrong_with_one_prompt_is_that_requests_alone(
    setting: Callable[..., ServedReplay], error: Exception
) -> None:
    here = setting()
    bad, good = Making(here, "bad", error=error), Making(here, "good", waits=True)
    bad.go.set()
    good.go.set()
    assert bad.received.ended.wait(WAIT_S)
    assert good.received.ended.wait(WAIT_S)
    assert (bad.received.error, bad.received.ends, good.received.text) == (error, 1, "good")
    assert here.metrics.finished == {"invalid" if isinstance(error, InvalidRequest) else "error": 1, "length": 1}
    assert here.is_free()


def test_a_stop_ends_a_request_whose_prompt_is_being_made(setting: Callable[..., ServedReplay]) -> None:
    """As «cancelled», once it is made, with no text; the engine has nothing to do with it. Its id is in use until then."""
    here = setting()
    long = Making(here, "long", request_id="a")
    assert here.dispatcher.runs("a")
    here.dispatcher.cancel("a")
    assert (here.dispatcher.runs("a"), long.received.ends) == (True, 0)
    long.go.set()
    assert long.received.ended.wait(WAIT_S)
    assert (long.received.text, long.received.last["finish_reason"].item()) == ("", b"cancelled")
    assert long.received.last["num_input_tokens"].item() == 1
    assert (read_counters(here.address)["started"], here.dispatcher.runs("a"), long.received.ends) == (0, False, 1)


@pytest.mark.parametrize("waits", [False, True])
def test_a_cancelled_call_whose_prompt_is_being_made_ends_at_once(
    setting: Callable[..., ServedReplay], waits: bool
) -> None:
    """Also one whose turn has not come, which is not made at all; another of the same id goes on."""
    here = setting()
    first = Making(here, "first", request_id="a", call="one")
    second = Making(here, "second", request_id="a", call="two", waits=True)
    cancelled, other = (second, first) if waits else (first, second)
    here.dispatcher.cancel(call="two" if waits else "one")
    assert cancelled.received.ended.wait(WAIT_S)
    assert isinstance(cancelled.received.error, Cancelled)
    first.go.set()
    second.go.set()
    assert other.received.ended.wait(WAIT_S)
    assert becomes(here.is_free, WAIT_S)
    assert (other.received.text, cancelled.received.ends) == ("first" if waits else "second", 1)
    assert (read_counters(here.address)["started"], second.begun.is_set()) == (1, not waits)


def test_a_client_that_leaves_while_its_prompt_is_made_costs_no_more(
    monkeypatch: pytest.MonkeyPatch, setting: Callable[..., ServedReplay]
) -> None:
    """Its request is gone at once; the final response follows, as for any client that has disconnected."""
    monkeypatch.setattr(disconnects, "FINAL_RESPONSE_DELAY_S", 1.0)
    here = setting()
    long = Making(here, "long")
    long.received.left = True
    assert becomes(lambda: here.dispatcher.in_flight == 0, WAIT_S)
    assert (long.received.ends, here.dispatcher.idle()) == (0, False)
    long.go.set()
    assert long.received.ended.wait(WAIT_S)
    assert isinstance(long.received.error, Cancelled)
    assert (read_counters(here.address)["started"], long.received.ends) == (0, 1)
    assert becomes(here.dispatcher.idle, WAIT_S)


def test_a_queue_timeout_is_over_while_the_prompt_is_made(setting: Callable[..., ServedReplay]) -> None:
    """It is refused then, not when the prompt is made, and is not submitted any more. Others of the pool have their own."""
    here = setting()
    hasty, patient = Making(here, "hasty", timeout_s=0.2), Making(here, "patient", timeout_s=60.0, waits=True)
    assert hasty.received.ended.wait(WAIT_S)
    assert isinstance(hasty.received.error, Unavailable)
    assert "the request's timeout was over before its prompt was made" in str(hasty.received.error)
    hasty.go.set()
    patient.go.set()
    assert patient.received.ended.wait(WAIT_S)
    assert (patient.received.text, hasty.received.ends) == ("patient", 1)
    assert here.metrics.finished == {"unavailable": 1, "length": 1}


def test_the_engine_gets_the_rest_of_a_queue_timeout() -> None:
    """What was spent on the prompt counts."""
    timeouts: list[float | None] = []

    class Link(SilentLink):
        def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
            timeouts.extend(request.queue_timeout_s for _, request in requests)

    dispatcher = Dispatcher(Link())
    dispatcher._pool.start()
    responder = RecordingResponder()
    plan = RowPlan([EngineRequest((1,), SamplingParams(max_tokens=9, seed=1))] * 2, streamed=True, keep=2)
    reply = Reply(responder, [plan], None, RequestMetrics().start(), at_once=False)  # type: ignore[arg-type]  no text

    def make() -> Reply:
        time.sleep(0.3)
        return reply

    timer = RequestMetrics().start()
    dispatcher.prepare(Preparation(responder, timer, prompts=1, size=9, timeout_s=50.0, call=""), make)
    dispatcher._pool.stop()
    assert timeouts[1:] == [None]
    assert timeouts[0] is not None
    assert 40 < timeouts[0] <= 49.7


def test_a_drain_waits_for_prompts_that_are_being_made(setting: Callable[..., ServedReplay]) -> None:
    """They were taken before; a new one is refused."""
    here = setting()
    running, waiting = Making(here, "running"), Making(here, "waiting", waits=True)
    here.dispatcher.drain()
    with pytest.raises(Unavailable, match="the server is shutting down"):
        Making(here, "late")
    assert not here.dispatcher.idle()
    running.go.set()
    waiting.go.set()
    for one, text in ((running, "running"), (waiting, "waiting")):
        assert one.received.ended.wait(WAIT_S)
        assert one.received.text == text
    assert becomes(here.dispatcher.idle, WAIT_S)


def test_a_dispatcher_that_stops_answers_those_whose_prompts_are_being_made(
    setting: Callable[..., ServedReplay],
) -> None:
    """Those under way and those that wait, once each."""
    here = setting(step_ms=5.0)
    both = Making(here, "and on " * 2000), Making(here, "and on " * 2000, waits=True)
    threading.Timer(0.2, both[0].go.set).start()
    here.dispatcher.stop()
    assert [(one.received.ends, type(one.received.error)) for one in both] == [(1, Unavailable)] * 2


def test_prompts_that_are_being_made_count_against_the_bound(setting: Callable[..., ServedReplay]) -> None:
    """A place is kept for each of their prompts; more sequences than there is room for are refused when they are known."""
    here = setting(max_in_flight=3, step_ms=5.0)
    one, three = Making(here, "one"), Making(here, "three", sequences=3, waits=True)
    here.ask("and on " * 500)
    with pytest.raises(Unavailable, match="3 requests are in flight, the most admitted at once"):
        here.ask("too many")
    with pytest.raises(Unavailable, match="3 requests are in flight"):
        Making(here, "too many")
    one.go.set()
    assert one.received.ended.wait(WAIT_S)
    three.go.set()
    assert three.received.ended.wait(WAIT_S)
    assert (one.received.text, isinstance(three.received.error, Unavailable)) == ("one", True)


def test_whatever_happens_while_prompts_are_made_each_request_ends_once(
    monkeypatch: pytest.MonkeyPatch, setting: Callable[..., ServedReplay]
) -> None:
    """Three hundred at once, which are cancelled, stopped, left, refused, timed out or made, in random order."""
    monkeypatch.setattr(disconnects, "FINAL_RESPONSE_DELAY_S", 0.1)
    here, draw = setting(max_in_flight=250), random.Random(5)
    asked: list[tuple[str, RecordingResponder]] = []
    refused = 0
    for number in range(300):
        kind = draw.choice(("made", "made", "call", "stop", "leaves", "fault", "hasty"))
        received = RecordingResponder(f"id {number}")
        preparation = Preparation(
            received, here.metrics.start(), prompts=1, size=draw.choice((5_000, 90_000)),
            timeout_s=draw.choice((0.001, 0.01)) if kind == "hasty" else 60.0, call=f"call {number}",
        )  # fmt: skip
        reply = here.reply(f"text {number}", received, call=f"call {number}")
        try:
            here.dispatcher.prepare(preparation, partial(slowly, reply, draw.random() / 200, kind == "fault"))
        except Unavailable:
            refused += 1
            continue
        asked.append((kind, received))
        if draw.random() < 0.7:
            kind, received = draw.choice(asked)
            if kind == "call":
                here.dispatcher.cancel(call=received.request_id.replace("id", "call"))
            elif kind == "stop":
                here.dispatcher.cancel(received.request_id)
            received.left = kind == "leaves"
    assert all(received.ended.wait(WAIT_S) for _, received in asked)
    assert becomes(here.dispatcher.idle, WAIT_S)
    assert becomes(here.is_free, WAIT_S)
    assert {received.ends for _, received in asked} == {1}
    for kind, received in asked:
        text = f"text {received.request_id.removeprefix('id ')}"
        assert kind != "made" or (received.text, received.error) == (text, None)
        assert kind != "fault" or isinstance(received.error, InvalidRequest)
    assert here.metrics.finished.total() == len(asked)
    assert refused < 100


def slowly(reply: Reply, seconds: float, fault: bool) -> Reply:
    """Makes a prompt in so many seconds."""
    time.sleep(seconds)
    if fault:
        raise InvalidRequest("no", "messages")
    return reply
