"""A request that is let go of, for whatever reason, frees its slot in the engine and is answered once, finally."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate_stream, stream_grpc
from tests.support.live.crowd import STOP, Grpc, Http, Received, together
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [BLS, ENSEMBLE])
LONG = "and on " * 1000
"""Ten seconds of echo, far beyond every bound here."""
FREE_S = 1.0
"""Some 0.2 s on an idle machine; the bound leaves room for a busy one."""


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 5.0, "slots": 8}})


@pytest.mark.parametrize("kind", [Http, Grpc], ids=["http closed", "grpc cancelled"])
def test_a_caller_that_leaves_frees_its_slot(server: LiveServer, kind: Any) -> None:
    before = server.engine_counters()
    received = together([kind(server, BLS, {"text_input": LONG, "stream": True}, leaves_after=3)] * 3)
    assert all(h.left and not h.ends for h in received)
    assert becomes(server.is_free, FREE_S)
    after = server.engine_counters()
    assert (after["cancelled"], after["finished"]) == (before["cancelled"] + 3, before["finished"])


def test_a_deadline_frees_its_slot(server: LiveServer) -> None:
    received = together([Grpc(server, BLS, {"text_input": LONG, "stream": True}, deadline_s=0.4)])[0]
    assert received.status == "DEADLINE_EXCEEDED"
    assert becomes(server.is_free, FREE_S)


def test_a_caller_that_leaves_while_it_waits_leaves_the_queue(server: LiveServer) -> None:
    """Eight hold the slots; the ninth never gets one, and is no longer waiting once it has gone."""
    inputs = {"text_input": LONG, "stream": True}
    holders = [Grpc(server, BLS, inputs, deadline_s=3.0) for _ in range(8)]
    crowd = Thread(target=together, args=([*holders, Grpc(server, BLS, inputs, deadline_s=1.0)],))
    crowd.start()
    assert becomes(lambda: bool(server.engine_counters()["waiting"] == 1), 5)
    assert becomes(lambda: bool(server.engine_counters()["waiting"] == 0), 3)
    assert server.engine_counters()["running"] == 8
    crowd.join()
    assert becomes(server.is_free, FREE_S)


@both_models
def test_a_stop_string_frees_its_slot(server: LiveServer, model: str) -> None:
    """The engine has thousands of tokens to go when the text holds the stop string."""
    text = "one two STOP" + LONG
    pieces = generate_stream(server, model, text_input=text, stop_words=["x STOP", "STO"])
    assert "".join(p["text_output"] for p in pieces) == "one two "
    assert pieces[-1]["finish_reason"] == "stop"
    assert becomes(server.is_free, FREE_S)


@pytest.mark.parametrize("model", [ENSEMBLE, TENSORRT_LLM])
def test_stocks_stop_request_ends_the_request_of_its_id(server: LiveServer, model: str) -> None:
    """It answers «cancelled» with what it has said, finally; another request goes on; the stop has no response."""
    sent = {ENSEMBLE: {"text_input": LONG, "stream": True}, TENSORRT_LLM: _engine_inputs([100] * 4000)}[model]
    short = {ENSEMBLE: {"text_input": "a " * 200, "stream": True}, TENSORRT_LLM: _engine_inputs([100] * 200)}[model]
    ended = {ENSEMBLE: "stop", TENSORRT_LLM: "length"}[model]
    received: list[Received] = []
    callers = [Grpc(server, model, sent, "mine"), Grpc(server, model, short, "other")]
    crowd = Thread(target=lambda: received.extend(together(callers)))
    crowd.start()
    assert becomes(lambda: bool(server.engine_counters()["running"] == 2), 5)
    assert stream_grpc(server, TENSORRT_LLM, STOP, request_id="mine") == []
    crowd.join()
    assert [(h.finish, h.ends, h.error) for h in received] == [("cancelled", 1, ""), (ended, 1, "")]
    assert becomes(server.is_free, FREE_S)


@pytest.mark.parametrize("model", [ENSEMBLE, TENSORRT_LLM])
def test_a_second_request_of_a_running_id_is_refused(server: LiveServer, model: str) -> None:
    """So a stop request ends one caller's. The id is free again with the end, and «0» is no id."""
    sent = {ENSEMBLE: {"text_input": LONG, "stream": True}, TENSORRT_LLM: _engine_inputs([100] * 4000)}[model]
    short = {ENSEMBLE: {"text_input": "a", "stream": True}, TENSORRT_LLM: _engine_inputs([100] * 2)}[model]
    received: list[Received] = []
    crowd = Thread(target=lambda: received.extend(together([Grpc(server, model, sent, "same")])))
    crowd.start()
    assert becomes(lambda: bool(server.engine_counters()["running"] == 1), 5)
    with pytest.raises(Refused, match="id: a request with the id same is in progress; give each an id of its own"):
        stream_grpc(server, model, short, request_id="same")
    assert stream_grpc(server, TENSORRT_LLM, STOP, request_id="same") == []
    crowd.join()
    assert [(h.finish, h.ends, h.error) for h in received] == [("cancelled", 1, "")]
    for _ in range(20):
        assert stream_grpc(server, model, short, request_id="same")
    nameless = together([Grpc(server, model, short, name) for name in ("0", "", "0", "")])
    assert [h.error for h in nameless] == [""] * 4


def test_a_running_id_of_the_bls_is_no_hindrance(server: LiveServer) -> None:
    """Nobody can name its requests: a caller ends its own by leaving."""
    inputs = {"text_input": "and on " * 20, "stream": True}
    received = together([Grpc(server, BLS, inputs, "same")] * 3)
    assert [(h.finish, h.error) for h in received] == [("stop", "")] * 3


def _engine_inputs(ids: list[int]) -> dict[str, Any]:
    return {"input_ids": ids, "input_lengths": len(ids), "request_output_len": len(ids), "streaming": True}


def test_a_stop_request_without_an_id_is_refused(server: LiveServer) -> None:
    received = together([Grpc(server, TENSORRT_LLM, STOP)])[0]
    assert "stop: needs the request id of the request to be stopped" in received.error


def test_whole_answers_are_cancelled_too(server: LiveServer) -> None:
    """A caller of `generate` that leaves has received nothing yet; its slot is free all the same."""
    ask = partial(Grpc, server, BLS, {"text_input": LONG, "stream": False}, deadline_s=0.4)
    assert [h.status for h in together([ask(), ask()])] == ["DEADLINE_EXCEEDED"] * 2
    assert becomes(server.is_free, FREE_S)
