"""NVIDIA's C++ backend stood in for by a Python model of its contract, reached by the BLS through Triton's `exec`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qwen_triton.contract import BLS, TENSORRT_LLM
from tests.live.servers import LiveServer, serving

_MODEL = Path(__file__).with_name("cpp_standin") / "model.py"
_DOOR = 'key: "engine_door" value: { string_value: "'


@dataclass(frozen=True)
class StandIn:
    """A server with the stand-in as its engine model; `counters` holds the number of requests that run in it."""

    server: LiveServer
    counters: Path

    def running(self) -> int:
        """Requests in the engine at its last step."""
        return int(self.counters.read_text() or 0)


@contextmanager
def serving_standin(model: Path, folder: Path, step_ms: float) -> Iterator[StandIn]:
    """A server whose BLS takes the door for engines that are not ours."""
    counters = folder / "running"
    counters.write_text("0")

    def change(repository: Path) -> None:
        shutil.copy(_MODEL, repository / TENSORRT_LLM / "1" / "model.py")
        config = repository / TENSORRT_LLM / "config.pbtxt"
        config.write_text(config.read_text() + _parameter("step_ms", step_ms) + _parameter("counters", counters))
        bls = repository / BLS / "config.pbtxt"
        text = bls.read_text()
        assert _DOOR in text
        bls.write_text(text.replace(_DOOR, _DOOR + "exec"))

    with serving({"model": str(model), "engine": {"kind": "replay"}}, folder, change) as server:
        yield StandIn(server, counters)


def _parameter(key: str, value: object) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
