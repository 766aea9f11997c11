"""The six ways into a launched deployment, and callers on each whose connection may break at any moment."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.live.crowd import Caller, Grpc, Http, Received, together
from tests.support.live.launches import Launch
from tests.support.live.servers import LiveServer

MODEL = "qwen-faults"
CALLERS_A_WAY = 4


@dataclass
class OpenAi:
    """A caller of the shim's completions on a connection of its own; what it hears ends with `[DONE]` or its JSON."""

    port: int
    body: Mapping[str, Any]
    model: str = MODEL

    async def ask(self, received: Received) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            data = json.dumps({"model": self.model, **self.body}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
            head, _, said = (await reader.read()).decode("utf-8", "replace").partition("\r\n\r\n")
            received.status = head.split()[1] if head else ""
            self._take(said, received)
        finally:
            writer.transport.abort()

    def _take(self, said: str, received: Received) -> None:
        streamed = bool(self.body.get("stream"))
        events = [line[6:] for line in said.splitlines() if line.startswith("data: {")] if streamed else [said]
        for event in events if received.status == "200" else ():
            found = json.loads(event)
            received.pieces += [choice["text"].encode() for choice in found.get("choices", ())]
            received.error = received.error or str(found.get("error", ""))
        received.ends = received.status == "200" and (not streamed or "data: [DONE]" in said) and not received.error
        if not received.ends:
            received.error = received.error or said or "the connection ended"


@dataclass
class Sturdy:
    """A caller for which a broken connection is an error that it hears. `heard`: what it hears, while it listens too."""

    caller: Caller
    received: Received = field(default_factory=Received)

    async def ask(self, received: Received) -> None:
        self.received = received
        try:
            await self.caller.ask(received)
        except (OSError, EOFError) as error:
            received.error = f"the connection broke: {error!r}"
        else:
            if not received.ends:
                received.error = received.error or "the stream broke off"
        finally:
            received.over_at = time.monotonic()


def live_server(launch: Launch) -> LiveServer:
    """The launch's tritonserver as the callers of `crowd` take it."""
    pid = launch.find("tritonserver", "--model-repository").pid
    return LiveServer(launch.deployment, Path(), launch.folder / "log", pid)


def six_ways(launch: Launch, text: str, tokens: int, **more: Any) -> list[Sturdy]:
    """One caller on each way in: HTTP and gRPC of the BLS and of the ensemble, the shim streamed and whole."""
    server, port = live_server(launch), launch.deployment.openai.port
    inputs = {"text_input": text, "max_tokens": tokens, "stream": True, **more}
    body = {"prompt": text, "max_tokens": tokens, **more}
    callers: list[Caller] = [way(server, model, inputs) for way in (Http, Grpc) for model in (BLS, ENSEMBLE)]
    return [Sturdy(c) for c in (*callers, OpenAi(port, {"stream": True, **body}), OpenAi(port, body))]


class Crowd:
    """Callers on all six ways, asking on a thread."""

    def __init__(self, launch: Launch, text: str, tokens: int, wait_s: float, **more: Any) -> None:
        callers = [c for _ in range(CALLERS_A_WAY) for c in six_ways(launch, text, tokens, **more)]
        self.received: Sequence[Received] = ()
        self._wait_s = wait_s
        self._streamed = [c for c in callers if not isinstance(c.caller, OpenAi)]
        self._thread = Thread(target=self._run, args=(callers,))
        self._thread.start()

    def _run(self, callers: Sequence[Caller]) -> None:
        self.received = together(callers, self._wait_s)

    def has_begun(self) -> bool:
        """Whether each caller of Triton's own ways has heard a piece, so that its stream has begun."""
        return all(c.received.pieces for c in self._streamed)

    def end(self) -> Sequence[Received]:
        """What each heard, once all have ended or the time is up."""
        self._thread.join()
        return self.received


def all_answer(launch: Launch, text: str = "one two three") -> list[str]:
    """What is wrong with an answer on any of the six ways; nothing when all are whole."""
    received = together(six_ways(launch, text, 30), 30)
    return [f"{h.status} {h.error} {h.pieces}" for h in received if h.error or b"".join(h.pieces) != text.encode()]
