"""NVIDIA's C++ backend stood in for by a Python model of its contract, reached by the BLS through Triton's `exec`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from qwen_triton.contract import BLS, TENSORRT_LLM
from qwen_triton_build.render import check_config
from tests.live.servers import LiveServer, serving

_MODEL = Path(__file__).with_name("cpp_standin") / "model.py"


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
        _set_parameters(repository / TENSORRT_LLM, step_ms=str(step_ms), counters=str(counters))
        _set_parameters(repository / BLS, engine_door="exec")

    with serving({"model": str(model), "engine": {"kind": "replay"}}, folder, change) as server:
        yield StandIn(server, counters)


def _set_parameters(model: Path, **values: str) -> None:
    file = model / "config.pbtxt"
    config = check_config(file.read_text(), model.name)
    for name, value in values.items():
        config.parameters[name].string_value = value
    file.write_text(text_format.MessageToString(config))
