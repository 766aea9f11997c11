"""An engine that is killed before a caller's first token: the caller is told that it may ask again, on every way in."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, Heard, together
from tests.support.live.repository_control import engine_processes
from tests.support.live.servers import LiveServer, serving
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
WORDS = "the engine's process ended while it answered; it is being started again, try again"
PROMPT = "one two three four"


@pytest.fixture(scope="module")
def server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The first token of an answer comes after seconds."""
    engine = {"kind": "replay", "prefill_ms_per_token": 2000.0, "step_ms": 5.0}
    with serving({"model": str(qwen25_folder), "engine": engine}, tmp_path_factory.mktemp("killed")) as started:
        yield started


def kill_engine(server: LiveServer, running: int) -> None:
    assert becomes(lambda: server.engine_counters()["running"] == running, 10)
    (engine,) = engine_processes(server)
    os.kill(engine, signal.SIGKILL)
    assert becomes(lambda: engine not in engine_processes(server) and bool(engine_processes(server)), 10)


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_by_http_reads_the_words(server: LiveServer, model: str, stream: bool) -> None:
    """Triton's generate answers every error of a model with 400."""
    refusals: list[Refused] = []

    def ask() -> None:
        with pytest.raises(Refused) as refused:
            generate(server, model, text_input=PROMPT, max_tokens=9, stream=stream)
        refusals.append(refused.value)

    caller = Thread(target=ask)
    caller.start()
    kill_engine(server, 1)
    caller.join(10)
    assert [(str(r), r.status) for r in refusals] == [(WORDS, 400)]


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_a_caller_by_grpc_reads_the_words(server: LiveServer, model: str) -> None:
    heard: list[Heard] = []
    inputs = {"text_input": PROMPT, "max_tokens": 9, "stream": True}
    crowd = Thread(target=lambda: heard.extend(together([Grpc(server, model, inputs)] * 3)))
    crowd.start()
    kill_engine(server, 3)
    crowd.join(10)
    assert [(h.text, h.error, h.ends) for h in heard] == [("", WORDS, 1)] * 3


def test_a_caller_of_the_shim_reads_503(server: LiveServer, tmp_path: Path) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    with shimming(server, tmp_path) as shim:
        answers: list[tuple[int, str]] = []

        def ask(stream: bool) -> None:
            answers.append(ask_shim(shim, {**body, "stream": stream}))

        callers = [Thread(target=ask, args=(stream,)) for stream in (False, True)]
        for caller in callers:
            caller.start()
        kill_engine(server, 2)
        for caller in callers:
            caller.join(10)
        assert [status for status, _ in answers] == [503, 503]
        assert all(WORDS in text for _, text in answers)


def ask_shim(shim: LiveShim, body: dict[str, object]) -> tuple[int, str]:
    request = urllib.request.Request(
        f"{shim.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
