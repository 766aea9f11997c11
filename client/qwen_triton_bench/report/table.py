"""Figures of a run as text tables: the one of stock's benchmark, and one with figures that stock's does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..run.samples import Run, Sample
from ..run.statistics import Figures, Spread

Row = tuple[str, str]


def boxed(rows: Sequence[Row], title: Row = ("Stat", "Value")) -> str:
    """A framed table of two columns: names centred, values to the right."""
    left = max(len(name) for name, _ in (title, *rows)) + 2
    right = max(len(value) for _, value in (title, *rows)) + 2
    rule = f"+{'-' * left}+{'-' * right}+"
    lines = [f"|{name:^{left}}|{value:>{right - 1}} |" for name, value in rows]
    return "\n".join([rule, f"|{title[0]:^{left}}|{title[1]:^{right}}|", rule, *lines, rule])


STOCK_FIGURES: Mapping[str, Callable[[Figures], float]] = {
    "Requests/Sec": lambda f: f.requests_per_second,
    "OP tokens/sec": lambda f: f.output_tokens_per_second,
    "Avg. latency (ms)": lambda f: 1e3 * f.latency.mean,
    "P99 latency (ms)": lambda f: 1e3 * f.latency.percentiles[99],
    "P90 latency (ms)": lambda f: 1e3 * f.latency.percentiles[90],
    "Avg. IP tokens per request": lambda f: f.input_tokens / max(1, f.answered),
    "Avg. OP tokens per request": lambda f: f.output_tokens / max(1, f.answered),
    "Avg. InFlight requests": lambda f: f.in_flight.mean,
    "Total latency (ms)": lambda f: 1e3 * f.seconds,
    "Total requests": lambda f: float(f.answered),
}
"""The ten figures of stock's table, by stock's names. Average tokens are per answered request."""


def stock_rows(f: Figures) -> list[Row]:
    """The rows of stock's table."""
    return [(name, f"{value(f):.2f}") for name, value in STOCK_FIGURES.items()]


def stream_rows(f: Figures) -> list[Row]:
    """Figures of streams, errors, and the client's own processor time."""
    rows = []
    for name, spread in (("TTFT", f.first_token), ("Inter-token latency", f.gaps), ("TPOT", f.time_per_output_token)):
        if spread.count:
            rows += [(f"{name} avg / P50 (ms)", _two(spread, 50)), (f"{name} P90 / P99 (ms)", _tail(spread))]
    rows += [
        ("Tokens per response", f"{f.tokens_per_response:.2f}"),
        ("Most in flight", str(f.in_flight.most)),
        ("Cached IP tokens", str(f.cached_tokens)),
    ]
    if f.goodput is not None:
        rows += [
            ("Goodput (requests/sec)", f"{f.goodput.per_second:.2f}"),
            ("Goodput (share)", f"{f.goodput.share:.1%}"),
        ]
    failed = sum(f.errors.values())
    rows += [("Errors", str(failed)), ("Not finished", str(f.unfinished))]
    tokens = max(1, f.output_tokens)
    return [*rows, ("Client's own CPU (us per OP token)", f"{1e6 * f.client_cpu_s / tokens:.1f}")]


def error_lines(f: Figures) -> list[str]:
    return [f"[ERROR] {count} x {kind}" for kind, count in f.errors.items()]


def request_lines(run: Run) -> list[str]:
    """A line for each request of a run, in the order of sending."""
    first = min((sample.sent for sample in run.samples), default=0.0)
    return [f"[VERBOSE] request {s.prompt}: sent at {_ms(s.sent - first)} ms, {_outcome(s)}" for s in run.samples]


def _outcome(sample: Sample) -> str:
    if sample.error is not None:
        return f"failed: {sample.error}"
    if sample.ended is None:
        return "not finished"
    tokens = f"{sample.input_tokens or sample.expected_input} tokens in, {sample.output_tokens or sample.ids} out"
    first = "" if sample.first_token is None else f"first token after {_ms(sample.first_token)} ms, "
    return f"{first}answered after {_ms(sample.latency)} ms, {tokens}, {sample.finish_reason}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


def _two(spread: Spread, percent: int) -> str:
    return f"{_ms(spread.mean)} / {_ms(spread.percentiles[percent])}"


def _tail(spread: Spread) -> str:
    return f"{_ms(spread.percentiles[90])} / {_ms(spread.percentiles[99])}"
