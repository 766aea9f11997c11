"""An engine that is killed before a caller's first token: the caller is told that it may ask again, on every way in."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from threading import Thread

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, Received, together
from tests.support.live.repository_control import engine_processes
from tests.support.live.servers import LiveServer, serving
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
WORDS = "the engine's process ended while it answered; it is being started again, try again"
BY_MODEL = {BLS: WORDS, ENSEMBLE: f"in ensemble '{ENSEMBLE}', {WORDS}"}
"""Triton names the ensemble before the words of its step (docs/requests.md)."""
PROMPT = "one two three four five " * 20
MODELS = (BLS, ENSEMBLE)
STREAMED = (False, True)
RESTART_S = 60.0
"""For the engine to be started again, on a busy machine too."""


@dataclass
class Told:
    """What each caller was told: by HTTP and the shim by how it asked, by gRPC by the model."""

    http: dict[tuple[str, bool], tuple[str, int | str]] = field(default_factory=dict)
    grpc: dict[str, list[Received]] = field(default_factory=dict)
    shim: dict[bool, tuple[int, str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The first token of an answer comes after minutes: by then the engine has been killed. That of a short one, as the
    shim asks for before it is ready, comes in seconds."""
    engine = {"kind": "replay", "prefill_ms_per_token": 2000.0, "step_ms": 5.0, "slots": 16}
    with serving({"model": str(qwen25_folder), "engine": engine}, tmp_path_factory.mktemp("killed")) as started:
        yield started


@pytest.fixture(scope="module")
def told(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Callers on every way in, at once; one kill for all of them, since pauses before restarts grow with each."""
    told = Told()
    with shimming(server, tmp_path_factory.mktemp("shim")) as shim:

        def by_http(model: str, stream: bool) -> None:
            with pytest.raises(Refused) as refused:
                generate(server, model, text_input=PROMPT, max_tokens=9, stream=stream)
            told.http[model, stream] = str(refused.value), refused.value.status

        def by_grpc(model: str) -> None:
            inputs = {"text_input": PROMPT, "max_tokens": 9, "stream": True}
            told.grpc[model] = together([Grpc(server, model, inputs)] * 3)

        def by_shim(stream: bool) -> None:
            told.shim[stream] = ask_shim(shim, stream)

        callers = [Thread(target=by_http, args=each) for each in product(MODELS, STREAMED)]
        callers += [Thread(target=by_grpc, args=(model,)) for model in MODELS]
        callers += [Thread(target=by_shim, args=(stream,)) for stream in STREAMED]
        for caller in callers:
            caller.start()
        kill_engine(server, 4 + 3 * 2 + 2)
        for caller in callers:
            caller.join(RESTART_S)
    return told


def kill_engine(server: LiveServer, running: int) -> None:
    assert becomes(lambda: server.runs(running), RESTART_S)
    (engine,) = engine_processes(server)
    os.kill(engine, signal.SIGKILL)
    assert becomes(lambda: engine not in engine_processes(server) and bool(engine_processes(server)), RESTART_S)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", STREAMED)
def test_a_caller_by_http_reads_the_words(told: Told, model: str, stream: bool) -> None:
    """Triton's generate answers every error of a model with 400."""
    assert told.http[model, stream] == (BY_MODEL[model], 400)


@pytest.mark.parametrize("model", MODELS)
def test_a_caller_by_grpc_reads_the_words(told: Told, model: str) -> None:
    assert [(h.text, h.error, h.ends) for h in told.grpc[model]] == [("", BY_MODEL[model], 1)] * 3


@pytest.mark.parametrize("stream", STREAMED)
def test_a_caller_of_the_shim_reads_503(told: Told, stream: bool) -> None:
    status, text = told.shim[stream]
    assert status == 503
    assert WORDS in text


def ask_shim(shim: LiveShim, stream: bool) -> tuple[int, str]:
    messages = [{"role": "user", "content": PROMPT}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 5, "stream": stream}
    request = urllib.request.Request(
        f"{shim.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=2 * RESTART_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
