"""HTTP of targets that answer by server-sent events or by one JSON body: an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import aiohttp

from qwen_triton_client.transport.event_lines import DATA, EventLines

from .target import AnswerListener, error_kind

OnEvent = Callable[[dict[str, Any]], None]


class AnswerError(Exception):
    """The server answered with an error; the text is its kind."""


class HttpAnswers:
    """Posts JSON and hands the JSON of each event, or of the body, to `on_event`, on the loop's thread."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http answers", daemon=True)
        self._thread.start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(headers), self._loop).result()
        self._tasks: set[asyncio.Task[None]] = set()

    def post(
        self, url: str, body: Any, listener: AnswerListener, request: int, on_event: OnEvent, on_end: Callable[[], None]
    ) -> None:
        """Sends from any thread. Ends with `on_end()`, or with the listener's `on_error`."""
        self._loop.call_soon_threadsafe(self._start, self._answer(url, body, listener, request, on_event, on_end))

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, headers: Mapping[str, str]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), headers=headers
        )

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, url: str, body: Any, listener: AnswerListener, request: int, on_event: OnEvent, on_end: Callable[[], None]
    ) -> None:
        try:
            async with self._session.post(url, json=body) as reply:
                if reply.status != 200:
                    raise AnswerError(error_kind(_message(await reply.read()), f"HTTP {reply.status}"))
                if reply.content_type == "text/event-stream":
                    await _read_events(reply.content, on_event)
                else:
                    on_event(json.loads(await reply.read()))
        except AnswerError as error:
            listener.on_error(request, str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            listener.on_error(request, error_kind(str(error) or type(error).__name__, "connection"))
        else:
            on_end()


async def _read_events(content: aiohttp.StreamReader, on_event: OnEvent) -> None:
    """Hands on events as they come, several of one read together; comments (keep-alive) and [DONE] are none."""
    lines = EventLines()
    async for data in content.iter_any():
        for line in lines.feed(data):
            if line.startswith(DATA) and (event := line[len(DATA) :].strip()) != b"[DONE]":
                on_event(json.loads(event))


def _message(body: bytes) -> str:
    """The message of Triton's or OpenAI's error body, else the body's beginning."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
