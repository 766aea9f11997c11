"""A model that is loaded again while it is used: no request fails, and what cannot be loaded leaves the old one serving."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, Http, Received, together
from tests.support.live.repository_control import (
    EXPLICIT,
    OPEN,
    POLL,
    change_engine,
    control,
    engine_processes,
    has_one_engine,
    index,
    touch,
)
from tests.support.live.servers import LiveServer, serving
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
LONG = " ".join(["one two three four five"] * 60)
TOKENS = 300
HTTP_1_0_TOKENS = 150
ROUNDS = 3
STEP_MS = 20.0
"""Streams last 6 s by it: longer than a model takes to load on a busy machine."""
WAIT_S = 10.0


@pytest.fixture(scope="module")
def server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "replay", "step_ms": STEP_MS, "slots": 64},
        "server": OPEN,
    }
    with serving(deployment, tmp_path_factory.mktemp("reload"), flags=EXPLICIT) as started:
        yield started


class Streams:
    """Streams of LONG on both models, by gRPC and HTTP, that are heard while something is done."""

    def __init__(self, server: LiveServer, each: int = 2) -> None:
        inputs = {"text_input": LONG, "max_tokens": TOKENS, "stream": True}
        callers = [kind(server, model, inputs) for kind in (Grpc, Http) for model in (BLS, ENSEMBLE)] * each
        self.received: list[Received] = []
        self._thread = Thread(target=lambda: self.received.extend(together(callers)))
        self._server, self._number = server, len(callers)

    def __enter__(self) -> Streams:
        self._thread.start()
        assert becomes(lambda: self._server.runs(self._number), WAIT_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join()
        self.ended_at = time.monotonic()

    def are_whole(self) -> bool:
        assert {(h.text, h.error, h.ends) for h in self.received} == {(LONG, "", 1)}
        return len(self.received) == self._number


@pytest.mark.parametrize("model", [TENSORRT_LLM, BLS, POSTPROCESSING])
def test_streams_run_to_their_end_while_a_model_is_loaded_again(server: LiveServer, model: str) -> None:
    """Whole and unbroken on the old one, while the new one already answers; then the old engine ends."""
    assert has_one_engine(server)
    old = engine_processes(server)
    with Streams(server) as streams:
        touch(server, model)
        assert control(server, model, "load") == ""
        for each in (BLS, ENSEMBLE):
            assert generate(server, each, text_input="hello again", max_tokens=10)["text_output"] == "hello again"
        now = engine_processes(server)
        assert len(now) == (2 if model == TENSORRT_LLM else 1)
        assert set(old) <= set(now)
    assert streams.are_whole()
    assert has_one_engine(server)
    assert (engine_processes(server) == old) is (model != TENSORRT_LLM)
    assert becomes(server.is_free, WAIT_S)


def test_streams_run_to_their_end_while_the_engine_is_loaded_again_by_http(server: LiveServer) -> None:
    """The old engine ends after them, not under them."""
    received: list[Received] = []
    callers = [Grpc(server, BLS, {"text_input": LONG, "max_tokens": TOKENS, "stream": True})] * 3
    crowd = Thread(target=lambda: received.extend(together(callers)))
    crowd.start()
    assert becomes(lambda: server.runs(3), WAIT_S)
    touch(server, TENSORRT_LLM)
    assert control(server, TENSORRT_LLM, "load", by="http") == ""
    crowd.join()
    assert [(h.text, h.error, h.ends) for h in received] == [(LONG, "", 1)] * 3
    assert has_one_engine(server)


@pytest.mark.parametrize("model", [PREPROCESSING, TENSORRT_LLM, POSTPROCESSING, BLS])
def test_a_connection_ends_though_a_process_began_while_it_was_open(server: LiveServer, model: str) -> None:
    """A client of HTTP/1.0 reads to the end of its connection, which a new process of a model has inherited."""
    host, port = server.http.split(":")
    body = json.dumps({"text_input": LONG, "max_tokens": HTTP_1_0_TOKENS}).encode()
    head = f"POST /v2/models/{BLS}/generate HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as client:
        client.sendall(head.encode() + body)
        assert becomes(lambda: server.runs(1), WAIT_S)
        touch(server, model)
        assert control(server, model, "load") == ""
        received = b"".join(iter(partial(client.recv, 1 << 16), b""))
    assert received.startswith(b"HTTP/1.0 200")
    assert f'"num_output_tokens":{HTTP_1_0_TOKENS}'.encode() in received
    assert has_one_engine(server)


def test_unloaded_and_loaded_three_times(server: LiveServer) -> None:
    """Streams of the BLS run to their end on the engine that is being unloaded; a request in between waits."""
    long = [Grpc(server, BLS, {"text_input": LONG, "max_tokens": TOKENS, "stream": True})] * 3
    short = [Grpc(server, BLS, {"text_input": "hello", "max_tokens": 5})]
    received: list[Received] = []

    def ask(callers: list[Grpc]) -> None:
        received.extend(together(callers))

    for _ in range(ROUNDS):
        before = engine_processes(server)
        received.clear()
        crowd, between = Thread(target=ask, args=(long,)), Thread(target=ask, args=(short,))
        crowd.start()
        assert becomes(lambda: server.runs(3), WAIT_S)
        assert control(server, TENSORRT_LLM, "unload") == ""
        between.start()
        assert control(server, TENSORRT_LLM, "load") == ""
        crowd.join()
        between.join()
        assert sorted((h.text, h.error) for h in received) == sorted([(LONG, "")] * 3 + [("hello", "")])
        assert generate(server, ENSEMBLE, text_input="hello again", max_tokens=10)["text_output"] == "hello again"
        assert has_one_engine(server)
        assert engine_processes(server) != before
    assert "Address already in use" not in server.log.read_text()


def test_a_wrong_option_is_refused_in_the_engines_words(server: LiveServer) -> None:
    """The old version goes on, also for the streams that run; the right option is loaded afterwards."""
    old = engine_processes(server)
    file = server.repository / TENSORRT_LLM / "config.pbtxt"
    right = file.read_text()
    try:
        with Streams(server, each=1) as streams:
            change_engine(server.repository, slots=0)
            refusal = control(server, TENSORRT_LLM, "load")
            assert "the engine did not start: " in refusal
            assert "engine.slots: must be a whole number of at least 1, got 0" in refusal
            for each in (BLS, ENSEMBLE):
                assert generate(server, each, text_input="hello again", max_tokens=10)["text_output"] == "hello again"
            assert engine_processes(server) == old
        assert streams.are_whole()
        assert index(server)[TENSORRT_LLM] == "READY"
    finally:
        file.write_text(right)
    assert control(server, TENSORRT_LLM, "load") == ""
    assert generate(server, BLS, text_input="hello again", max_tokens=10)["text_output"] == "hello again"


def test_a_new_engine_serves_with_its_new_options(server: LiveServer) -> None:
    """The BLS moves to it as well, and to its facts: the context that it checks a request against is the new one."""
    file = server.repository / TENSORRT_LLM / "config.pbtxt"
    right = file.read_text()
    try:
        change_engine(server.repository, max_context=64)
        assert control(server, TENSORRT_LLM, "load") == ""
        assert has_one_engine(server)
        for each in (BLS, ENSEMBLE):
            with pytest.raises(Refused, match="64"):
                generate(server, each, text_input="hello", max_tokens=100)
    finally:
        file.write_text(right)
        assert control(server, TENSORRT_LLM, "load") == ""
    assert generate(server, BLS, text_input=LONG, max_tokens=TOKENS)["text_output"] == LONG


def test_in_poll_mode_no_request_fails(qwen25_folder: Path, tmp_path: Path) -> None:
    """Three touches of the engine model and one of the BLS under load: every answer is whole."""
    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 2.0, "slots": 64}}
    with serving(deployment, tmp_path, flags=POLL) as server:
        sent: list[tuple[str, str]] = []
        stopping = False

        def ask(number: int) -> None:
            while not stopping:
                model = (BLS, ENSEMBLE)[number % 2]
                inputs = {"text_input": f"one two three {number}", "max_tokens": 40, "stream": True}
                (received,) = together([(Grpc, Http)[number // 2 % 2](server, model, inputs)])
                sent.append(
                    ((received.text == inputs["text_input"] and str(received.ends)) or received.text, received.error)
                )

        threads = [Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for model in (TENSORRT_LLM, TENSORRT_LLM, BLS, TENSORRT_LLM):
            before = engine_processes(server)
            touch(server, model)
            if model == TENSORRT_LLM:
                assert becomes(lambda: engine_processes(server) != before, 20)  # noqa: B023  asked in this round
                assert has_one_engine(server)
            else:
                time.sleep(3)
        stopping = True
        for thread in threads:
            thread.join()
        assert [each for each in sent if each != ("1", "")] == []
        assert len(sent) >= 300
