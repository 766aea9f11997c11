"""Endpoints GET /health and /health/ready."""

from __future__ import annotations

import pytest

from qwen_triton.errors import EngineError
from tests.support.fake_triton import FakeTriton, chat_body, shim_client


def test_readiness_asks_for_a_token_once_in_a_while() -> None:
    """The first time, and not again while tokens were seen lately."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        assert [client.get("/health/ready").status_code for _ in range(3)] == [200] * 3
    assert [(r.prompt, r.sampling.max_tokens) for r in triton.sent] == [("1", 1)]


def test_readiness_hears_the_answers_that_pass() -> None:
    """A model that answers users need not be asked."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        client.post("/v1/chat/completions", json=chat_body())
        assert client.get("/health/ready").status_code == 200
    assert len(triton.sent) == 1


@pytest.mark.parametrize(
    ("triton", "reason"),
    [
        (FakeTriton([EngineError("the engine is gone")]), "no token came"),
        (FakeTriton([], endless=True), "it took too long"),
    ],
)
def test_a_model_that_makes_no_token_is_not_ready(triton: FakeTriton, reason: str) -> None:
    """However healthy the server says it is; the process is alive all the same."""
    with shim_client(triton, probe_timeout_s=0.05) as client:
        reply = client.get("/health/ready")
        assert (client.get("/health").status_code, reply.status_code) == (200, 503)
    assert reason in reply.json()["error"]["message"]
    assert all(g.cancelled for g in triton.generations)


def test_a_server_that_is_not_ready_is_not_asked() -> None:
    """No probe goes to it."""
    triton = FakeTriton()
    triton.up = False
    with shim_client(triton) as client:
        assert client.get("/health/ready").status_code == 503
    assert triton.sent == []


def test_who_is_leaving_is_not_ready() -> None:
    """At once."""
    with shim_client() as client:
        client.app.state.service.drain.leaving = True  # type: ignore[attr-defined]  # starlette's
        reply = client.get("/health/ready")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "shutting_down")
