"""Measures how soon a request that is abandoned frees its slot: python -m tests.tools.leaving --at-once 1,64,500

A tritonserver with the replay engine generates endless answers for so many clients at once. Some of them leave, one
after the other, in each possible way; at last all leave together. Prints, for each way, the time from leaving to the
free slot in the engine's own counters. It is taken from the client's own clock for a deadline, from the last response
for a stop word, and from before the request is sent for a stop request.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from tests.support.fetch_qwen import fetch
from tests.support.live.crowd import STOP, Grpc, Http, Received
from tests.support.live.servers import LiveServer, serving

LIMIT_S = 10.0
_POLL_S = 0.002
ENDLESS = {"text_input": "and on and on STOP ", "ignore_eos": True, "max_tokens": 30_000, "stream": True}
ENGINE = {"input_ids": [100, 101, 102], "input_lengths": 3, "request_output_len": 30_000, "streaming": True}


@dataclass
class Slots:
    """Times at which slots became free: at `at[n]` the engine had cancelled n + 1 sequences more than `before`."""

    server: LiveServer
    before: int
    at: list[float] = field(default_factory=list)
    running: int = 0
    ended: Event = field(default_factory=Event)

    def watch(self) -> None:
        """Reads the engine's counters every few milliseconds until `ended`."""
        while not self.ended.wait(_POLL_S):
            counters = self.server.engine_counters()
            self.at += [time.monotonic()] * (counters["cancelled"] - self.before - len(self.at))
            self.running = counters["running"]


@contextmanager
def watching(server: LiveServer) -> Iterator[Slots]:
    """Watches the slots of a server for as long as the context lasts."""
    slots = Slots(server, server.engine_counters()["cancelled"])
    thread = Thread(target=slots.watch)
    thread.start()
    try:
        yield slots
    finally:
        slots.ended.set()
        thread.join()


async def until(true: Callable[[], bool]) -> None:
    """Waits until `true()`. Raises TimeoutError after LIMIT_S seconds."""
    deadline = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("a slot was not freed")
        await asyncio.sleep(_POLL_S)


async def leave_by(client: Any) -> float:
    """Runs a client that leaves; the time at which it left."""
    received = Received()
    await client.ask(received)
    return received.over_at


async def leave_by_stop_request(server: LiveServer) -> float:
    """A request to the engine model that is cancelled by a second one with its id; the time before the second was sent."""
    answer = asyncio.create_task(Grpc(server, TENSORRT_LLM, ENGINE, "taken").ask(received := Received()))
    await until(lambda: received.outputs.get("output_ids") is not None)
    before = time.monotonic()
    await Grpc(server, TENSORRT_LLM, STOP, "taken").ask(Received())
    await answer
    return before


def ways(server: LiveServer) -> dict[str, Callable[[], Awaitable[float]]]:
    """Ways to leave by name: each starts a request, abandons it and returns the time."""
    return {
        "HTTP closed": lambda: leave_by(Http(server, BLS, ENDLESS, leaves_after=3)),
        "HTTP, ensemble": lambda: leave_by(Http(server, ENSEMBLE, ENDLESS, leaves_after=3)),
        "gRPC cancelled": lambda: leave_by(Grpc(server, BLS, ENDLESS, leaves_after=3)),
        "gRPC deadline": lambda: leave_by(Grpc(server, BLS, ENDLESS, deadline_s=1.0)),
        "stop word": lambda: leave_by(Grpc(server, BLS, ENDLESS | {"stop_words": [" STOP"]})),
        "stop request": lambda: leave_by_stop_request(server),
    }


async def one_by_one(server: LiveServer, leave: Callable[[], Awaitable[float]], times: int) -> list[float]:
    """Seconds from leaving to the free slot, of `times` clients that leave one after the other."""
    seconds = []
    with watching(server) as slots:
        for number in range(times):
            left = await leave()
            await until(lambda n=number: len(slots.at) > n)  # type: ignore[misc]  # mypy cannot infer the default
            seconds.append(max(0.0, slots.at[number] - left))
    return seconds


async def all_together(server: LiveServer, stayers: list[asyncio.Task[None]]) -> list[float]:
    """Seconds to each free slot when all remaining clients leave at the same moment."""
    with watching(server) as slots:
        left = time.monotonic()
        for task in stayers:
            task.cancel()
        await asyncio.gather(*stayers, return_exceptions=True)
        await until(lambda: len(slots.at) == len(stayers))
    return [at - left for at in slots.at]


async def measure(server: LiveServer, at_once: int, times: int) -> None:
    """Prints the block of the table for `at_once` clients."""
    stayers = [asyncio.create_task(Grpc(server, BLS, ENDLESS).ask(Received())) for _ in range(at_once - 1)]
    with watching(server) as slots:
        await until(lambda: slots.running == at_once - 1)
    for name, leave in ways(server).items():
        _print(at_once, name, await one_by_one(server, leave, times))
    if stayers:
        _print(at_once, "all at once", await all_together(server, stayers))


def _print(at_once: int, way: str, seconds: list[float]) -> None:
    ms = sorted(1e3 * s for s in seconds)
    p99 = ms[min(len(ms) - 1, round(0.99 * len(ms)))]
    print(f"{at_once:>8}  {way:16}{len(ms):>8}{statistics.median(ms):>8.0f}{p99:>8.0f}{ms[-1]:>8.0f}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.leaving", description="how soon a request that is abandoned frees its slot"
    )
    parser.add_argument("--at-once", default="1,64,500", help="concurrent clients, several numbers")
    parser.add_argument("--times", type=int, default=30, help="clients that leave in each way")
    parser.add_argument("--step-ms", type=float, default=100.0, help="the engine's milliseconds per token")
    options = parser.parse_args()
    engine = {"kind": "replay", "step_ms": options.step_ms}
    print(f"{'at once':>8}  {'way':16}{'left':>8}{'p50 ms':>8}{'p99':>8}{'max':>8}")
    with tempfile.TemporaryDirectory() as work:
        for at_once in map(int, options.at_once.split(",")):
            folder = Path(work) / str(at_once)
            folder.mkdir()
            with serving({"model": str(fetch() / "qwen2.5"), "engine": engine}, folder) as server:
                asyncio.run(measure(server, at_once, options.times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
