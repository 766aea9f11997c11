"""Body limit: what is too large is refused, as early as that is known."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection, status, with_app
from tests.support.fake_triton import FakeTriton, chat_body, shim_client
from tests.support.shim_requests import CHAT, error


@pytest.mark.parametrize("told", [True, False])
def test_a_body_has_a_limit(told: bool) -> None:
    """413, also where the length is not told beforehand; one that just fits passes."""
    body = json.dumps(chat_body()).encode()
    chunks = body if told else iter([body[:10], body[10:]])
    with shim_client(max_body_bytes=len(body) - 1) as client:
        reply = client.post(CHAT, content=chunks)
        assert error(reply) == (413, "invalid_request_error", "request_too_large")
    with shim_client(max_body_bytes=len(body)) as client:
        assert client.post(CHAT, content=body).status_code == 200


def test_a_body_without_an_end_is_refused_while_it_comes() -> None:
    """Reading stops at the limit."""
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        assert read < 50
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    connection = Connection(CHAT, {})

    async def story(app: Any) -> None:
        await app(connection.scope, receive, connection.send)

    asyncio.run(with_app(ShimSettings(max_body_bytes=25), FakeTriton(), story))
    assert (status(connection), read) == (413, 3)
