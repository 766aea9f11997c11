"""A request that has no slot of the engine by its timeout is let go of there and answered UNAVAILABLE, once.

Two slots are held by long answers, so that whatever comes next waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate, infer_grpc, infer_http
from tests.support.live.crowd import Grpc, Http, Received, together
from tests.support.live.servers import LiveServer
from tests.support.live.standin import serving_standin
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
all_models = pytest.mark.parametrize("model", [BLS, ENSEMBLE, TENSORRT_LLM])
SAYS = "no slot of the engine was free within the request's timeout; try again later"
LONG = "and on " * 1000
US = 1_000_000


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """Without a timeout of its own."""
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 5.0, "slots": 2}})


@pytest.fixture(scope="module")
def strict(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """Nobody waits longer than 0.4 s; answers are whole, so that KServe infer works."""
    engine = {"kind": "replay", "step_ms": 5.0, "slots": 2}
    repository = {"queue_timeout_ms": 400, "decoupled": False}
    return serve({"model": str(qwen25_folder), "engine": engine, "repository": repository})


def inputs(model: str, text: str = "one two") -> dict[str, Any]:
    if model == TENSORRT_LLM:
        return {"input_ids": [100] * 9, "input_lengths": 9, "request_output_len": 9, "streaming": True}
    return {"text_input": text, "stream": True}


@contextmanager
def held(server: LiveServer, seconds: float = 2.5) -> Iterator[list[Received]]:
    """Both slots are taken, by callers that leave after so long; then all is free, and what they heard is known."""
    received: list[Received] = []
    sent = {"text_input": LONG, "stream": server.deployment.repository.decoupled}
    holders = [Grpc(server, BLS, sent, deadline_s=seconds, parameters={"timeout": US // 10})] * 2
    crowd = Thread(target=lambda: received.extend(together(holders)))
    crowd.start()
    assert becomes(lambda: bool(server.engine_counters()["running"] == 2), 5)
    yield received
    crowd.join()
    assert becomes(server.is_free, 1.0)


@all_models
def test_a_grpc_request_without_a_slot_in_time_is_unavailable(server: LiveServer, model: str) -> None:
    """One answer, the final one; one that waits without a timeout gets its text; those that had begun were not touched."""
    with held(server) as holders:
        hasty = Grpc(server, model, inputs(model), parameters={"timeout": US // 2})
        patient = Grpc(server, BLS, inputs(BLS))
        refused, answered = together([hasty, patient])
    assert SAYS in refused.error
    assert refused.pieces == []
    assert (answered.text, answered.error) == ("one two", "")
    assert [(h.status, len(h.pieces) > 2) for h in holders] == [("DEADLINE_EXCEEDED", True)] * 2


def test_its_place_in_the_queue_is_free_while_the_slots_are_not(server: LiveServer) -> None:
    before = server.engine_counters()
    with held(server):
        received = together([Grpc(server, BLS, inputs(BLS), parameters={"timeout": US // 2})] * 5)
        counters = server.engine_counters()
        assert (counters["running"], counters["waiting"]) == (2, 0)
        assert counters["cancelled"] == before["cancelled"] + 5
    assert [SAYS in h.error for h in received] == [True] * 5


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_generate_has_the_timeout_in_its_body(server: LiveServer, model: str) -> None:
    """Triton hands it on as a parameter; streamed and whole."""
    with held(server):
        streamed = Http(server, model, {**inputs(model), "timeout": US // 2})
        received = together([streamed])[0]
        assert SAYS in received.error
        with pytest.raises(Refused, match=SAYS):
            generate(server, model, text_input="one two", timeout=US // 2)


def test_a_timeout_that_is_none_is_refused(server: LiveServer) -> None:
    with pytest.raises(Refused, match="timeout: expected whole microseconds, 0 for none, got '2 s'"):
        generate(server, BLS, text_input="one two", timeout="2 s")


def test_the_deployment_bounds_the_wait(strict: LiveServer) -> None:
    """Nobody asked for it; a request may ask for less, and for more in vain."""
    with held(strict):
        sent = [{}, {"timeout": 60 * US}, {"timeout": US // 10}]
        received = together([Grpc(strict, BLS, {"text_input": "one two"}, parameters=p) for p in sent])
        assert [SAYS in h.error for h in received] == [True] * 3
    assert generate(strict, BLS, text_input="one two")["text_output"] == "one two"


def test_kserve_infer_has_the_code_and_generate_the_message(strict: LiveServer) -> None:
    """2.51's generate says 400 whatever the fault."""
    with held(strict):
        for ask, code in ((infer_http, "503"), (infer_grpc, "StatusCode.UNAVAILABLE")):
            with pytest.raises(Refused, match=SAYS) as refusal:
                ask(strict, BLS, {"text_input": "one two"})
            assert refusal.value.status == code
    with held(strict), pytest.raises(Refused, match=SAYS) as refusal:
        generate(strict, BLS, text_input="one two")
    assert refusal.value.status == 400


def test_an_engine_that_is_not_ours_must_have_said_something(qwen25_folder: Path, tmp_path: Path) -> None:
    """It does not say when it begins. A stand-in that speaks every 2.5 s: asked just after it did, it is late for one
    request, in time for the other, and no longer timed once it has spoken."""
    reason = "the stand-in sleeps 2.5 s in a step, and ends after it"
    with serving_standin(qwen25_folder, tmp_path, step_ms=2500.0, cannot_unload=reason) as standin:
        generate(standin.server, BLS, text_input="one", max_tokens=1)
        late, in_time = (
            Grpc(standin.server, BLS, {**inputs(BLS), "max_tokens": 2}, parameters={"timeout": us})
            for us in (US // 4, 9 * US // 2)
        )
        refused, answered = together([late, in_time])
        assert "the engine said nothing within the request's timeout; try again later" in refused.error
        assert (answered.text, answered.error) == ("one two", "")
        assert becomes(lambda: standin.running() == 0, 6)
