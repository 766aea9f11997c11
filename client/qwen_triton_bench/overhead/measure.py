"""One measurement: a load through one way in, and what each process of the line spent on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from ..options import MODES
from ..plan import make_plan
from ..run.arrivals import Closed
from ..run.load import Bounds, Load
from ..run.progress import ProgressBar
from ..run.statistics import Figures, figures
from ..targets.open_target import open_target
from .process_time import processor_seconds
from .setup import LineServer

_SILENCE_S = 60.0
_WARMUP = 8


@dataclass(frozen=True)
class Work:
    """What every way in is given: `rounds` requests for each place of the concurrency."""

    concurrency: int
    input_tokens: int
    output_tokens: int
    rounds: int
    protocol: str


@dataclass(frozen=True)
class Cost:
    """The figures of one load, and microseconds of processor per streamed token by process (the client's apart)."""

    repository: str
    via: str
    work: Work
    step_ms: float
    figures: Figures
    microseconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Of all the server's processes: what it takes to serve a token, the engine's play included."""
        return sum(self.microseconds.values())

    @property
    def client(self) -> float:
        return 1e6 * self.figures.client_cpu_s / max(1, self.figures.output_tokens)

    @property
    def gap_added_ms(self) -> float | None:
        """How much longer a token takes than the engine's step; None where the engine has no pace."""
        spread = self.figures.time_per_output_token
        return 1e3 * spread.percentiles[50] - self.step_ms if self.step_ms and spread.count else None


def measure(line: LineServer, via: str, work: Work, repository: str, step_ms: float) -> Cost:
    """Loads one way in. Raises ConfigurationError when it is not there."""
    way = open_target(_arguments(line, via, work))
    try:
        requests = work.concurrency * work.rounds
        plan = make_plan(_arguments(line, via, work), way.encode, as_ids=way.as_ids)
        Load(way.target, plan.conversations, Closed(4), Bounds(_WARMUP, None, _SILENCE_S), 0).run()
        before, progress = processor_seconds(line.pids), ProgressBar()
        bounds = Bounds(requests, None, _SILENCE_S)
        run = Load(way.target, plan.conversations, Closed(work.concurrency), bounds, 0).run(progress)
        spent = processor_seconds(line.pids) - before
        progress.end()
    finally:
        way.target.close()
    found = figures(run)
    tokens = max(1, found.output_tokens)
    per_token = {name: 1e6 * seconds / tokens for name, seconds in spent.items()}
    return Cost(repository, via, work, step_ms, found, per_token)


def _arguments(line: LineServer, via: str, work: Work) -> argparse.Namespace:
    """The same work as the command line of a load would say it."""
    openai = via == "openai"
    return argparse.Namespace(
        mode=via,
        url=line.openai if openai else line.server.url(work.protocol),
        protocol=work.protocol,
        model=None if openai else MODES[via][0],
        endpoint="chat",
        api_key="",
        stream=None,
        tokenizer_dir=None,
        triton_url=line.server.grpc,
        workload="token-norm-dist",
        num_requests=min(64, work.concurrency),
        duration=None,
        trace=None,
        concurrency=work.concurrency,
        request_rate=-1,
        silence=_SILENCE_S,
        seed=0,
        max_input_len=work.input_tokens,
        max_output_len=work.output_tokens,
        input_mean=work.input_tokens,
        input_stdev=0,
        output_mean=work.output_tokens,
        output_stdev=0,
    )
