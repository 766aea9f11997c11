"""Callers that leave after 0 to 20 ms on each way in, on a busy machine: the server answers on, and unloads in seconds."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.live.crowd import Caller, Grpc, Http, Received
from tests.support.live.servers import LiveServer, serving
from tests.support.live.shims import LiveShim, shimming
from tests.support.live.six_ways import OpenAi
from tests.support.live.waiting import becomes

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

STORM_S = 6.0
AT_ONCE = 8
LEAVES_S = 0.02
BUSY = 3
"""Processes that keep the machine busy."""
REFUSED = 0.2
"""The share of requests that the model refuses, so that refusals cross leaving callers."""


def inputs(draw: random.Random) -> dict[str, object]:
    refused = {"temperature": -1.0} if draw.random() < REFUSED else {}
    return {"text_input": "one two three", "max_tokens": draw.choice([1, 5, 40]), "stream": True, **refused}


def shim_body(draw: random.Random) -> dict[str, object]:
    refused = {"temperature": -1.0} if draw.random() < REFUSED else {}
    return {"prompt": "one two three", "max_tokens": draw.choice([1, 5, 40]), "stream": draw.random() < 0.5, **refused}


def shim_caller(shim: LiveShim, draw: random.Random) -> Caller:
    return OpenAi(int(shim.url.rpartition(":")[2]), shim_body(draw), "qwen-live")


WAYS: dict[str, Callable[[LiveServer, LiveShim, random.Random], Caller]] = {
    "HTTP": lambda server, _, draw: Http(server, BLS, inputs(draw)),
    "HTTP of the ensemble": lambda server, _, draw: Http(server, ENSEMBLE, inputs(draw)),
    "gRPC": lambda server, _, draw: Grpc(server, BLS, inputs(draw)),
    "the shim": lambda _, shim, draw: shim_caller(shim, draw),
}

CRASHES = {"HTTP of the ensemble": 2}
"""How many storms a crash of tritonserver 2.51 itself may end (docs/exact-text.md, «What is not solved»)."""
_CRASHED = re.compile(r"^Signal \((?:6|11)\) received", re.MULTILINE)


@contextmanager
def busy_machine() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


async def storm(make: Callable[[], Caller], draw: random.Random) -> int:
    """How many callers came and left."""
    end, count = time.monotonic() + STORM_S, 0

    async def leave_again_and_again() -> None:
        nonlocal count
        while time.monotonic() < end:
            with suppress(asyncio.TimeoutError, OSError, EOFError):
                await asyncio.wait_for(make().ask(Received()), draw.random() * LEAVES_S)
            count += 1

    await asyncio.gather(*(leave_again_and_again() for _ in range(AT_ONCE)))
    return count


def endure(way: str, checkpoint: Path, folder: Path, draw: random.Random) -> None:
    """A storm. All slots become free; that the server unloads in time is asserted where it is stopped."""
    deployment = {"model": str(checkpoint), "engine": {"kind": "replay", "step_ms": 5.0}}
    (folder / "shim").mkdir(parents=True)
    with serving(deployment, folder) as server:
        with shimming(server, folder / "shim") as shim, busy_machine():
            assert asyncio.run(storm(lambda: WAYS[way](server, shim, draw), draw)) > AT_ONCE
        assert becomes(server.is_free, 10)


@pytest.mark.parametrize("way", WAYS)
def test_callers_that_leave_at_once_hold_nothing_back(way: str, qwen25_folder: Path, tmp_path: Path) -> None:
    """Nor do they crash the server, but for a fault of its own, after which the storm begins anew."""
    draw = random.Random(way)
    for left in range(CRASHES.get(way, 0), -1, -1):
        folder = tmp_path / str(left)
        try:
            endure(way, qwen25_folder, folder, draw)
        except (Exception, pytest.fail.Exception):
            if not left or not _CRASHED.search((folder / "tritonserver.log").read_text()):
                raise
        else:
            break
