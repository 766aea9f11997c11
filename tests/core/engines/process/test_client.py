"""EngineClient: new sequences go to the current engine, those of a former one run to their end, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from qwen_triton.engines.engine import Key
from qwen_triton.engines.process import client as client_module
from qwen_triton.engines.process import server as server_module
from qwen_triton.engines.process.client import EngineClient, connect, read_counters
from qwen_triton.engines.process.messages import encode_message
from qwen_triton.engines.process.server import EngineServer
from qwen_triton.engines.replay.engine import ReplayEngine
from qwen_triton.engines.replay.options import ReplayOptions
from qwen_triton.errors import EngineError, QwenTritonError, Unavailable
from qwen_triton.types import EngineRequest, SamplingParams, TokenChunk
from tests.support.live.waiting import becomes

WAIT_S = 20.0
ENDED = "the engine's process ended while it answered; it is being started again, try again"
IDS = tuple(range(10, 60))


class Engines:
    """Replay engines in threads, by name, and which of them is current."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(dir="/dev/shm"))
        self.current: str | None = None
        self.servers: dict[str, tuple[EngineServer, threading.Thread]] = {}

    def open(self, name: str, step_ms: float = 10.0, **options: int) -> None:
        engine = ReplayEngine(ReplayOptions(step_ms=step_ms, **options))
        server = EngineServer(engine, self.address(name))
        self.servers[name] = server, threading.Thread(target=server.run, daemon=True)
        self.servers[name][1].start()
        self.current = name

    def address(self, name: str) -> str:
        return str(self.folder / name)

    def locate(self) -> str | None:
        return None if self.current is None else self.address(self.current)

    def leave(self, name: str) -> None:
        """As the supervisor asks it to."""
        peer = connect(self.address(name))[0]
        peer.sendall(encode_message("leave"))
        peer.close()

    def kill(self, name: str) -> None:
        self.servers[name][0].stop()
        with suppress(OSError):  # a visitor, so that the server looks up
            connect(self.address(name))[0].close()
        self.servers[name][1].join(WAIT_S)
        for client in list(self.servers[name][0]._clients):
            client.peer.close()
        Path(self.address(name)).unlink(missing_ok=True)

    def has_ended(self, name: str) -> bool:
        return not self.servers[name][1].is_alive()


class Receiver:
    """A thread that receives, and what it heard by key."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.ids: dict[int, list[int]] = {}
        self.ends: dict[int, str] = {}
        self.refusals: dict[int, QwenTritonError] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def on_chunk(self, key: int, chunk: TokenChunk) -> None:
        self.ids.setdefault(key, []).extend(chunk.token_ids)
        if chunk.finish:
            assert key not in self.ends
            self.ends[key] = chunk.finish

    def on_refusal(self, key: int, error: QwenTritonError) -> None:
        self.refusals[key] = error

    def has_ended(self, *keys: int) -> bool:
        return becomes(lambda: all(key in self.ends for key in keys), WAIT_S)

    def stop(self) -> None:
        self._stopping = True
        self.client.wake()
        self._thread.join(WAIT_S)
        self.client.close()

    def _run(self) -> None:
        while not self._stopping:
            self.client.receive(self, 0.5)


@pytest.fixture
def engines() -> Iterator[Engines]:
    made = Engines()
    yield made
    for name in made.servers:
        made.kill(name)
    rmtree(made.folder)


@pytest.fixture
def client(engines: Engines) -> EngineClient:
    return EngineClient(engines.locate, connect_s=0.5)


@pytest.fixture
def receiver(client: EngineClient) -> Iterator[Receiver]:
    made = Receiver(client)
    yield made
    made.stop()


def request(length: int = len(IDS)) -> EngineRequest:
    return EngineRequest(IDS, SamplingParams(max_tokens=length, seed=0))


def test_new_sequences_go_to_the_new_engine_and_running_ones_end_on_the_old(
    engines: Engines, client: EngineClient, receiver: Receiver
) -> None:
    """The old engine ends by itself after its last sequence; facts are the new one's at once."""
    engines.open("old")
    client.submit([(1, request())])
    assert becomes(lambda: len(receiver.ids.get(1, ())) > 2, WAIT_S)
    engines.open("new", max_context=777)
    assert client.info().max_context == 777
    client.submit([(2, request())])
    engines.leave("old")
    assert not receiver.ends
    counters = [read_counters(engines.address(name))["running"] for name in ("old", "new")]
    assert counters == [1, 1]
    assert receiver.has_ended(1, 2)
    assert receiver.ids == {1: list(IDS), 2: list(IDS)}
    assert becomes(lambda: engines.has_ended("old"), 2)
    assert not engines.has_ended("new")


def test_an_engine_that_leaves_serves_what_was_sent_before_the_client_knew(
    engines: Engines, client: EngineClient, receiver: Receiver
) -> None:
    """A hundred changes of engines under requests: each is answered, whole."""
    engines.open("e0", step_ms=0.0)
    stopping = False
    sent: list[int] = []

    def ask() -> None:
        while not stopping:
            sent.append(len(sent))
            client.submit([(sent[-1], request(5))])

    thread = threading.Thread(target=ask)
    thread.start()
    for number in range(1, 100):
        engines.open(f"e{number}", step_ms=0.0)
        engines.leave(f"e{number - 1}")
    stopping = True
    thread.join()
    assert receiver.has_ended(*sent)
    assert set(receiver.ends.values()) == {"length"}
    assert all(ids == list(IDS[:5]) for ids in receiver.ids.values())
    assert len(sent) > 100
    assert becomes(lambda: all(engines.has_ended(f"e{number}") for number in range(99)), WAIT_S)


def test_the_end_of_an_ended_sequence_waits_for_no_submit(
    engines: Engines, client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine in a long step does not read, so a submit of more than its socket holds waits."""
    goes_on = threading.Event()
    monkeypatch.setattr(ReplayEngine, "step", lambda _: goes_on.wait(WAIT_S) and [])
    engines.open("busy")
    client.submit([(1, request())])
    prompts = [(key, EngineRequest(IDS * 1000, SamplingParams(max_tokens=1, seed=0))) for key in range(2, 22)]
    submit = threading.Thread(target=client.submit, args=(prompts,), daemon=True)
    submit.start()
    submit.join(0.5)
    assert submit.is_alive()
    cancel = threading.Thread(target=client.cancel, args=(1000,), daemon=True)
    cancel.start()
    cancel.join(WAIT_S / 2)
    assert not cancel.is_alive()
    assert submit.is_alive()
    goes_on.set()
    submit.join(WAIT_S)
    assert not submit.is_alive()


def test_a_cancelled_sequence_does_not_keep_the_old_engine(
    engines: Engines, client: EngineClient, receiver: Receiver
) -> None:
    engines.open("old")
    client.submit([(1, request())])
    assert becomes(lambda: 1 in receiver.ids, WAIT_S)
    engines.leave("old")
    engines.current = None
    time.sleep(0.1)
    assert not engines.has_ended("old")
    client.cancel(1)
    assert becomes(lambda: engines.has_ended("old"), 2)
    assert not receiver.ends


def test_an_engine_does_not_wait_for_ever_for_a_client_without_sequences(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_LINGER_S", 0.3)
    monkeypatch.setattr(server_module, "_LOOK_S", 0.05)
    engines.open("old")
    peer = connect(engines.address("old"))[0]
    engines.leave("old")
    time.sleep(0.1)
    assert not engines.has_ended("old")
    assert becomes(lambda: engines.has_ended("old"), 2)
    peer.close()


def test_a_request_waits_for_an_engine_that_is_loaded(
    engines: Engines, client: EngineClient, receiver: Receiver
) -> None:
    threading.Timer(0.2, engines.open, ("new",)).start()
    client.submit([(1, request(3))])
    assert receiver.has_ended(1)
    assert receiver.ids == {1: list(IDS[:3])}


def test_an_engine_that_is_long_missed_is_not_waited_for_by_each_request(
    engines: Engines, client: EngineClient
) -> None:
    """The first waits half a second here, the others are told at once, until it is there again."""
    before = time.monotonic()
    for _ in range(10):
        with pytest.raises(Unavailable, match="the engine is not running; it may be starting, try again"):
            client.submit([(1, request())])
    assert 0.5 < time.monotonic() - before < 0.9
    engines.open("new")
    assert client.info().name == "replay"


def test_sequences_of_an_engine_that_died_are_lost_while_another_waits_for_it(
    engines: Engines, client: EngineClient, receiver: Receiver
) -> None:
    """Their callers hear of it at once, not after the one that waits."""
    client._connect_s = 10.0
    engines.open("old")
    client.submit([(1, request()), (2, request())])
    assert becomes(lambda: {1, 2} <= set(receiver.ids), WAIT_S)
    engines.leave("old")
    engines.current = None
    assert becomes(lambda: client._current is not None and client._current.leaving, WAIT_S)
    waits = threading.Thread(target=client.info)
    waits.start()
    time.sleep(0.1)
    engines.kill("old")
    assert becomes(lambda: {key: str(error) for key, error in receiver.refusals.items()} == {1: ENDED, 2: ENDED}, 1)
    assert waits.is_alive()
    engines.open("new")
    waits.join(WAIT_S)


def test_an_engine_of_another_user_gets_nothing(
    engines: Engines, client: EngineClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engines.open("forged")
    monkeypatch.setattr("qwen_triton.engines.process.socket.same_user", lambda _: False)
    with pytest.raises(Unavailable):
        client.submit([(1, request())])
    assert f"a process of another user listens at '{engines.address('forged')}'" in caplog.text
    with pytest.raises(EngineError, match="a process of another user listens"):
        read_counters(engines.address("forged"))


def test_a_client_of_another_user_hears_nothing(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    engines.open("mine")
    client_side = threading.current_thread()
    monkeypatch.setattr(
        "qwen_triton.engines.process.socket.same_user", lambda _: threading.current_thread() is client_side
    )
    with pytest.raises(ConnectionError):
        client_module.connect(engines.address("mine"))


class Counting(Receiver):
    """Counts the chunks of each key too."""

    def __init__(self, client: EngineClient) -> None:
        self.chunks: dict[int, int] = {}
        super().__init__(client)

    def on_chunk(self, key: int, chunk: TokenChunk) -> None:
        self.chunks[key] = self.chunks.get(key, 0) + 1
        super().on_chunk(key, chunk)


@pytest.mark.parametrize(("least", "most"), [(1, 51), (16, 5), (0, 2)])
def test_a_whole_answer_comes_in_few_chunks(engines: Engines, client: EngineClient, least: int, most: int) -> None:
    """Its first token at once, and all the others together at the end, or so many together as were asked for."""
    engines.open("one", step_ms=1.0)
    received = Counting(client)
    client.submit([(7, EngineRequest(IDS, SamplingParams(max_tokens=len(IDS), seed=0), chunk_tokens=least))])
    assert received.has_ended(7)
    received.stop()
    assert received.ids[7] == list(IDS)
    assert most // 2 < received.chunks[7] <= most


def test_the_end_that_is_asked_for_has_the_tokens_that_were_kept(engines: Engines, client: EngineClient) -> None:
    """They end as «cancelled» and free the slot; what is not in flight has no such end."""
    engines.open("one", step_ms=20.0)
    received = Receiver(client)
    assert not client.finish(7)
    client.submit([(7, EngineRequest(IDS * 20, SamplingParams(max_tokens=1000, seed=0), chunk_tokens=0))])
    time.sleep(0.5)
    assert len(received.ids[7]) == 1
    assert client.finish(7)
    assert received.has_ended(7)
    received.stop()
    assert 5 < len(received.ids[7]) < 1000
    assert received.ids[7] == list(IDS * 20)[: len(received.ids[7])]
    assert received.ends == {7: "cancelled"}
    assert read_counters(engines.address("one"))["cancelled"] == 1


def test_the_batch_and_the_time_to_a_successor_are_counted(
    engines: Engines, client: EngineClient, receiver: Receiver
) -> None:
    """Of two sequences at once and a third after them; a sequence that is cancelled is one whose place is free."""
    engines.open("e", step_ms=5.0)
    client.submit([(1, request(4)), (2, request(1000))])
    assert receiver.has_ended(1)
    client.submit([(3, request(2))])
    assert receiver.has_ended(3)
    client.cancel(2)
    client.submit([(4, request(2))])
    assert receiver.has_ended(4)
    counters = read_counters(engines.address("e"))
    assert counters["batched"] == counters["tokens"]
    assert counters["steps"] < counters["batched"] <= 2 * counters["steps"]
    assert counters["successors"] == 2
    assert 0 < counters["successor_s"] < WAIT_S


class BusyEngine(ReplayEngine):
    """Its steps take 20 ms of the process, as a model's do."""

    def step(self) -> Sequence[tuple[Key, TokenChunk]]:
        time.sleep(0.02)
        return super().step()


def test_a_long_message_does_not_wait_for_a_step_with_each_of_its_parts(engines: Engines) -> None:
    """A prompt of 600,000 tokens, 3 MB, in parts of some 200 KB; a small request behind it begins with it."""
    server = EngineServer(BusyEngine(ReplayOptions(max_context=1 << 20)), engines.address("a"))
    engines.servers["a"] = server, threading.Thread(target=server.run, daemon=True)
    engines.servers["a"][1].start()
    engines.current = "a"
    receiver = Receiver(EngineClient(engines.locate))
    try:
        receiver.client.submit([(1, EngineRequest(tuple(range(5000)), SamplingParams(max_tokens=5000, seed=1)))])
        assert becomes(lambda: len(receiver.ids.get(1, ())) > 2, WAIT_S)
        before = len(receiver.ids[1])
        receiver.client.submit([(2, EngineRequest((70_000,) * 600_000, SamplingParams(max_tokens=1, seed=1)))])
        receiver.client.submit([(3, EngineRequest((5, 6), SamplingParams(max_tokens=2, seed=1)))])
        assert receiver.has_ended(2, 3)
        assert (receiver.ids[2], receiver.ids[3]) == ([70_000], [5, 6])
        assert len(receiver.ids[1]) - before < 10
    finally:
        receiver.stop()
