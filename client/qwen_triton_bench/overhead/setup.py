"""The server that the line is measured on: the replay engine at a set pace behind a real tokenizer, or a given folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import Deployment

from ..run.server import Started, started, started_shim


@dataclass(frozen=True)
class Pace:
    """How the engine emits. `tokens_per_s`: of all requests together, None = flat out."""

    tokens_per_s: float | None
    tokens_per_step: int

    def step_ms(self, concurrency: int) -> float:
        """Milliseconds between two steps of the engine with so many requests in it."""
        return 1e3 * concurrency * self.tokens_per_step / self.tokens_per_s if self.tokens_per_s else 0.0


@dataclass(frozen=True)
class LineServer:
    """A server and, where it was asked for, the shim in front of it (`openai` is its address)."""

    server: Started
    openai: str = ""
    shim_pid: int = 0

    @property
    def pids(self) -> list[int]:
        return [pid for pid in (self.server.pid, self.shim_pid) if pid]


def replay_deployment(model: Path, pace: Pace, concurrency: int) -> Deployment:
    """Answers repeat the prompt, at the pace. Raises ConfigurationError when there is no tokenizer."""
    if not (model / "tokenizer_config.json").is_file():
        raise ConfigurationError(
            f"--model {model}: has no tokenizer; give a Qwen checkpoint's folder (weights are not needed)"
        )
    engine = {"kind": "replay", "step_ms": pace.step_ms(concurrency), "tokens_per_step": pace.tokens_per_step}
    data = {"model": str(model), "engine": {**engine, "slots": max(1024, 2 * concurrency)}}
    return Deployment.model_validate(data)


@contextmanager
def line_server(deployment: Deployment, repository: Path | None, *, with_shim: bool) -> Iterator[LineServer]:
    """Serves until left. `repository` takes the place of the deployment's own."""
    with ExitStack() as stack:
        server = stack.enter_context(started(deployment, repository))
        if not with_shim:
            yield LineServer(server)
            return
        url, pid = stack.enter_context(started_shim(server.grpc))
        yield LineServer(server, url, pid)
