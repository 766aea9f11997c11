"""NVIDIA's C++ backend stood in for by a Python model of its contract, which the BLS reaches through the server's gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from qwen_triton.tensors.contract import BLS, TENSORRT_LLM
from qwen_triton_bench.overhead.one_token import put_one_token_engine, set_parameters
from tests.support.live.servers import LiveServer, serving


@dataclass(frozen=True)
class StandIn:
    """A server with the stand-in as its engine model; `counters` holds the number of requests that run in it."""

    server: LiveServer
    counters: Path

    @property
    def pid(self) -> int:
        """The process of the engine model."""
        stubs = psutil.Process(self.server.pid).children(recursive=True)
        (found,) = [p.pid for p in stubs if f"/{TENSORRT_LLM}/1/model.py" in str(p.cmdline())]
        return found

    def running(self) -> int:
        """Requests in the engine at its last step."""
        return int(self.counters.read_text() or 0)


@contextmanager
def serving_standin(
    model: Path,
    folder: Path,
    step_ms: float,
    decoupled: bool = True,
    flags: Sequence[str] = (),
    cannot_unload: str = "",
) -> Iterator[StandIn]:
    """A server with the stand-in as its engine model; `flags` and `cannot_unload` as for `serving`."""
    counters = folder / "running"
    counters.write_text("0")

    def change(repository: Path) -> None:
        put_one_token_engine(repository, step_ms=str(step_ms), counters=str(counters))
        set_parameters(repository / BLS, engine_door="grpc")

    deployment = {"model": str(model), "engine": {"kind": "replay"}, "repository": {"decoupled": decoupled}}
    with serving(deployment, folder, change, flags, cannot_unload) as server:
        yield StandIn(server, counters)
