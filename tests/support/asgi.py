"""One HTTP request to an ASGI application, driven by hand: the client may disconnect at any time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from qwen_triton_openai.app import create_app
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeTriton


class Connection:
    """One HTTP request as the application sees it; the client may leave at any time."""

    def __init__(self, path: str, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
        self.scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "POST",
            "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        self._incoming = [{"type": "http.request", "body": data, "more_body": False}]
        self._left = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self.told = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        if self._incoming:
            return self._incoming.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.told.set()

    @property
    def text(self) -> str:
        return b"".join(m.get("body", b"") for m in self.sent).decode()


async def ask(app: Any, connection: Connection) -> None:
    await asyncio.wait_for(app(connection.scope, connection.receive, connection.send), 10)


def status(connection: Connection) -> int:
    return int(connection.sent[0]["status"]) if connection.sent else 0


async def until(holds: Any) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("did not come to pass")


async def with_app(settings: ShimSettings, triton: FakeTriton, story: Any) -> None:
    app = create_app(settings, lambda _: triton)
    async with app.router.lifespan_context(app):
        await story(app)
