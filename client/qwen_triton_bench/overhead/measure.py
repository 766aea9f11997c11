"""One measurement: the load of one target, and the processor time that each process of the server spent on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..options import MODES, add_mode_options
from ..plan import make_plan
from ..run.arrivals import Closed
from ..run.load import Bounds, Load
from ..run.progress import ProgressBar
from ..run.statistics import Figures, figures
from ..targets.open_target import open_target
from .process_time import processor_seconds
from .setup import MeasuredServer

_SILENCE_S = 60.0
_WARMUP = 8


@dataclass(frozen=True)
class Work:
    """The load, the same for every target: `rounds` times `concurrency` requests. Lengths are in tokens.

    `output_deviation`: of the lengths of answers; at 0 all that begin together end together.
    """

    concurrency: int
    input_tokens: int
    output_tokens: int
    rounds: int
    protocol: str
    output_deviation: int = 0


@dataclass(frozen=True)
class Cost:
    """Figures of one load. `microseconds`: processor time per streamed token by process, without the client's.

    `batch`: mean sequences of an engine's step; `successor_ms`: mean time from a sequence's end to the first token of the
    next one in its place. None for a server without an engine of ours.
    """

    repository: str
    via: str
    work: Work
    step_ms: float
    figures: Figures
    microseconds: Mapping[str, float]
    batch: float | None = None
    successor_ms: float | None = None

    @property
    def total(self) -> float:
        """Microseconds per token of all server processes, the replay engine included."""
        return sum(self.microseconds.values())

    @property
    def client(self) -> float:
        """Microseconds per token of this process."""
        return 1e6 * self.figures.client_cpu_s / max(1, self.figures.output_tokens)

    @property
    def gap_added_ms(self) -> float | None:
        """Milliseconds by which the median time per token exceeds the engine's step; None without a rate."""
        spread = self.figures.time_per_output_token
        return 1e3 * spread.percentiles[50] - self.step_ms if self.step_ms and spread.count else None


def measure(
    server: MeasuredServer, via: str, work: Work, repository: str, step_ms: float, tokenizer: Path | None = None
) -> Cost:
    """Loads one target. `step_ms`: milliseconds of the engine per token. `via`: a mode of the benchmark, or a model's name.

    `tokenizer`: the folder of one that makes prompts; None: the server's. Raises ConfigurationError when it does not answer.
    """
    arguments = _arguments(server, via, work, tokenizer)
    opened = open_target(arguments)
    try:
        requests = work.concurrency * work.rounds
        plan = make_plan(arguments, opened.encode, as_ids=opened.as_ids)
        Load(opened.target, plan.conversations, Closed(4), Bounds(_WARMUP, None, _SILENCE_S), 0).run()
        before, steps_before, progress = processor_seconds(server.pids), server.engine_counters(), ProgressBar()
        bounds = Bounds(requests, None, _SILENCE_S)
        run = Load(opened.target, plan.conversations, Closed(work.concurrency), bounds, 0).run(progress)
        spent, steps = processor_seconds(server.pids) - before, server.engine_counters()
        steps.subtract(steps_before)
        progress.end()
    finally:
        opened.target.close()
    found = figures(run)
    tokens = max(1, found.output_tokens)
    per_token = {name: 1e6 * seconds / tokens for name, seconds in spent.items()}
    batch = steps["batched"] / steps["steps"] if steps["steps"] else None
    successor_ms = 1e3 * steps["successor_s"] / steps["successors"] if steps["successors"] else None
    return Cost(repository, via, work, step_ms, found, per_token, batch, successor_ms)


def _arguments(server: MeasuredServer, via: str, work: Work, tokenizer: Path | None) -> argparse.Namespace:
    """The load as a command line of `qwen-triton bench` would have it."""
    openai, mode = via == "openai", via if via in MODES else "bls"
    url = server.openai if openai else server.triton.url(work.protocol)
    parser = argparse.ArgumentParser()
    add_mode_options(parser, mode)
    line = [
        *("--url", url, "--num-requests", str(min(64, work.concurrency)), "-c", str(work.concurrency)),
        *("--silence", str(_SILENCE_S), "--seed", "0"),
        *("--max-input-len", str(work.input_tokens)),
        *(() if mode == via else ("--model", via)),
        *(("--tokenizer-dir", str(tokenizer)) if tokenizer else ()),
        *(("--endpoint", "chat", "--triton-url", server.triton.grpc) if openai else ("-i", work.protocol)),
        *("token-norm-dist", "--input-mean", str(work.input_tokens), "--input-stdev", "0"),
        *("--output-mean", str(work.output_tokens), "--output-stdev", str(work.output_deviation)),
    ]
    arguments = parser.parse_args(line)
    arguments.mode = mode
    return arguments
