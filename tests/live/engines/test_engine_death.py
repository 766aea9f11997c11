"""Faults stay where they are: one request's, one engine's; and a bound on what is taken in."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Thread

import psutil
import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, Received, together
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
LONG = "and on " * 400


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """A sequence fails at its 100th token; four requests a model are taken in at once."""
    return serve(
        {
            "model": str(qwen25_folder),
            "engine": {"kind": "replay", "step_ms": 10.0, "fail_after": 100},
            "repository": {"max_in_flight": 4},
        }
    )


def engine_pid(server: LiveServer) -> int:
    """The engine's process, started by a model of this server."""
    found = [
        p.pid for p in psutil.Process(server.pid).children(recursive=True) if "engines.process" in str(p.cmdline())
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_a_request_that_fails_fails_alone(server: LiveServer, model: str) -> None:
    """Its caller gets an error without a stack trace, after the text up to there; the others their whole text."""
    texts = ["one two three", LONG, "four five six"]
    received = together([Grpc(server, model, {"text_input": t, "max_tokens": 300, "stream": True}) for t in texts])
    assert [h.text for h in (received[0], received[2])] == ["one two three", "four five six"]
    assert LONG.startswith(received[1].text)
    assert "internal error; the server's log has the cause under request" in received[1].error
    assert "Traceback" not in received[1].error
    assert [h.error for h in (received[0], received[2])] == ["", ""]


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_an_engine_that_dies_fails_its_requests_and_is_started_again(server: LiveServer, model: str) -> None:
    received: list[Received] = []
    sent = [{"text_input": LONG, "max_tokens": 90, "stream": True, "ignore_eos": True}] * 3
    crowd = Thread(target=lambda: received.extend(together([Grpc(server, model, inputs) for inputs in sent])))
    crowd.start()
    assert becomes(lambda: bool(server.engine_counters()["running"] == 3), 10)
    killed = engine_pid(server)
    os.kill(killed, signal.SIGKILL)
    crowd.join()
    assert all(h.error and LONG.startswith(h.text) for h in received)
    assert generate(server, model, text_input="hello again", max_tokens=10)["text_output"] == "hello again"
    assert engine_pid(server) != killed


def test_requests_beyond_the_bound_are_unavailable(server: LiveServer) -> None:
    """Six at once where four are taken in: two are told at once that they may try again."""
    inputs = {"text_input": "and on " * 30, "max_tokens": 80, "stream": True}
    received = together([Grpc(server, BLS, inputs) for _ in range(6)])
    refused = [h for h in received if h.error]
    assert [h.text for h in received if not h.error] == [inputs["text_input"]] * 4
    assert len(refused) == 2
    assert all("4 requests are in flight, the most admitted at once; try again later" in h.error for h in refused)


def test_a_wrong_request_is_the_callers_fault(server: LiveServer) -> None:
    with pytest.raises(Refused, match=r"max_tokens: must be in \[1, ") as refusal:
        generate(server, BLS, text_input="hello", max_tokens=0)
    assert refusal.value.status == 400


def test_the_models_end_with_a_server_that_is_killed(server: LiveServer) -> None:
    """Nothing is left behind that waits for ever. The last test of this server."""
    processes = psutil.Process(server.pid).children(recursive=True)
    assert len(processes) >= 5
    os.kill(server.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
