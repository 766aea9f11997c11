"""Two API keys and chat requests with them, for tests of the shim's middleware."""

from __future__ import annotations

import httpx
from starlette.testclient import TestClient

from tests.support.fake_triton import chat_body

CHAT = "/v1/chat/completions"
SECRET = "sk-" + "a" * 43
OTHER = "sk-" + "b" * 43
WITH_KEY = {"Authorization": f"Bearer {SECRET}"}


def chat(client: TestClient, **headers: str) -> httpx.Response:
    return client.post(CHAT, json=chat_body(), headers=headers)


def error(reply: httpx.Response) -> tuple[int, str | None, str | None]:
    fault = reply.json()["error"]
    assert set(fault) == {"message", "type", "param", "code"}
    return reply.status_code, fault["type"], fault["code"]
