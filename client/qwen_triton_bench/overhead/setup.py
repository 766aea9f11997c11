"""Server under measurement: the replay engine at a set rate behind a real tokenizer, or a given repository."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qwen_triton.engines.process.client import read_counters
from qwen_triton.engines.process.loads import find_loads, server_identity
from qwen_triton.errors import ConfigurationError, EngineError
from qwen_triton_build.deployment.schema import Deployment

from ..run.server import RunningServer, running_server, running_shim


@dataclass(frozen=True)
class EmissionRate:
    """How fast the replay engine emits. `tokens_per_s`: of all requests together, None = as fast as it can."""

    tokens_per_s: float | None
    tokens_per_step: int

    def step_ms(self, concurrency: int) -> float:
        """Milliseconds between two steps of the engine while it holds `concurrency` requests; 0 without a rate."""
        return 1e3 * concurrency * self.tokens_per_step / self.tokens_per_s if self.tokens_per_s else 0.0


@dataclass(frozen=True)
class MeasuredServer:
    """A Triton and, where asked for, the shim in front of it: `openai` is the shim's address, `shim_pid` its process."""

    triton: RunningServer
    openai: str = ""
    shim_pid: int = 0

    def engine_counters(self) -> Counter[str]:
        """Totals of the server's own engine, none where it has no such engine or that does not answer."""
        found: Counter[str] = Counter()
        for load in find_loads(server_identity(self.triton.pid)):
            with contextlib.suppress(EngineError):
                found.update(
                    {k: v for k, v in read_counters(load.engine_socket).items() if isinstance(v, (int, float))}
                )
        return found

    @property
    def pids(self) -> list[int]:
        return [pid for pid in (self.triton.pid, self.shim_pid) if pid]


def replay_deployment(model: Path, rate: EmissionRate, concurrency: int, responses_per_s: int = 0) -> Deployment:
    """A deployment whose engine answers with the prompt's tokens, at this rate. `model`: a folder with a tokenizer.

    `responses_per_s`: the most of the BLS, 0 = by the machine's cores.

    Raises ConfigurationError when the folder has none.
    """
    if not (model / "tokenizer_config.json").is_file():
        raise ConfigurationError(
            f"--model {model}: has no tokenizer; give a Qwen checkpoint's folder (weights are not needed)"
        )
    engine = {"kind": "replay", "step_ms": rate.step_ms(concurrency), "tokens_per_step": rate.tokens_per_step}
    data = {
        "model": str(model),
        "engine": {**engine, "slots": max(1024, 2 * concurrency)},
        "repository": {"max_responses_per_s": responses_per_s},
    }
    return Deployment.model_validate(data)


@contextmanager
def measured_server(deployment: Deployment, repository: Path | None, *, with_shim: bool) -> Iterator[MeasuredServer]:
    """Serves until the block ends. `repository` takes the place of the deployment's own."""
    with ExitStack() as stack:
        triton = stack.enter_context(running_server(deployment, repository))
        if not with_shim:
            yield MeasuredServer(triton)
            return
        url, pid = stack.enter_context(running_shim(triton.grpc, deployment.shim_settings().workers))
        yield MeasuredServer(triton, url, pid)
