"""The endpoints that generate are called without the framework's routing, and nobody can tell."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from qwen_triton.errors import Unavailable
from qwen_triton_openai.app import GENERATE, create_app
from qwen_triton_openai.middleware.queue import GENERATING
from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection, ask, with_app
from tests.support.fake_triton import FakeTriton, chat_body, completion_body, events, message_body, shim_client

BODIES = {
    "/v1/chat/completions": chat_body(),
    "/v1/completions": completion_body(),
    "/v1/messages": message_body(),
    "/v1/responses": {"model": "qwen", "input": "hi"},
}
ODD: list[dict[str, Any]] = [
    {},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"model": "another"},
    {"temperature": "hot"},
    {"unheard_of": 1},
    {"max_tokens": -1},
]
RANDOM = ("id", "created", "created_at", "completed_at")


def test_all_paths_that_generate_are_called_directly() -> None:
    """And the framework has a route for each, of which it makes the document."""
    assert GENERATE.keys() == GENERATING == BODIES.keys()
    paths = create_app(ShimSettings()).openapi()["paths"]
    assert all("post" in paths[path] for path in GENERATE)


def plain(value: Any) -> Any:
    """Without what is new in each answer."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in RANDOM and not str(v).startswith(("msg_", "req-"))}
    return [plain(v) for v in value] if isinstance(value, list) else value


def told(client: TestClient, path: str, body: Any) -> Any:
    reply = client.post(path, **({"content": body} if isinstance(body, bytes) else {"json": body}))
    headers = {k: v for k, v in reply.headers.items() if k not in ("x-request-id", "request-id", "content-length")}
    streamed = reply.headers["content-type"].startswith("text/event-stream") and path.endswith("completions")
    shown = plain(events(reply.text)) if streamed else len(reply.text) if "event" in headers else reply.text
    return reply.status_code, headers, shown if streamed else plain(reply.json()) if reply.text[:1] == "{" else ""


@pytest.mark.parametrize("path", sorted(GENERATE))
def test_answers_are_those_of_the_frameworks_routes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, errors of bodies and of the model, and a body of too many levels."""
    bodies: list[Any] = [BODIES[path] | odd for odd in ODD] + [b"{", b"", b"[" * 5000, b'{"model": 1}']
    for model in (FakeTriton(), FakeTriton([Unavailable("try again")])):
        with shim_client(model) as client:
            direct = [told(client, path, body) for body in bodies]
        monkeypatch.setattr("qwen_triton_openai.app.GENERATE", {})
        with shim_client(model) as client:
            assert [told(client, path, body) for body in bodies] == direct
        monkeypatch.undo()


def test_other_methods_are_the_frameworks() -> None:
    with shim_client() as client:
        reply = client.get("/v1/chat/completions")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_supported")


def test_what_an_endpoint_did_not_expect_is_a_500_with_the_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middleware answers it, as for each endpoint."""

    def fails(*_: object, **__: object) -> FastAPI:
        raise KeyError("x")

    monkeypatch.setattr("qwen_triton_openai.endpoints.chat.plan_chat", fails)
    with shim_client() as client:
        reply = client.post("/v1/chat/completions", json=chat_body(), headers={"x-request-id": "mine"})
    assert (reply.status_code, reply.headers["x-request-id"]) == (500, "mine")
    assert reply.json()["error"]["message"] == "internal error; the server's log has the cause under mine"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_leaves_nothing_to_the_garbage_collector(streamed: bool) -> None:
    """What refers to itself is freed by a search of all objects, which costs more than a request's own work."""

    async def story(app: Any) -> None:
        body = chat_body(stream=streamed)
        await ask(app, Connection("/v1/chat/completions", body))
        gc.collect()
        gc.disable()
        try:
            gc.set_debug(gc.DEBUG_SAVEALL)
            await ask(app, Connection("/v1/chat/completions", body))
            await asyncio.sleep(0)
            gc.collect()
            found.extend(type(one).__qualname__ for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    found: list[str] = []
    asyncio.run(with_app(ShimSettings(), FakeTriton(), story))
    assert found == []
