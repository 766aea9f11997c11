"""Figures of a run as text tables: the one of stock's benchmark, and one with figures that stock's does not have."""

from __future__ import annotations

from collections.abc import Sequence

from ..run.statistics import Figures, Spread

Row = tuple[str, str]


def boxed(rows: Sequence[Row], title: Row = ("Stat", "Value")) -> str:
    """A framed table of two columns: names centred, values to the right."""
    left = max(len(name) for name, _ in (title, *rows)) + 2
    right = max(len(value) for _, value in (title, *rows)) + 2
    rule = f"+{'-' * left}+{'-' * right}+"
    lines = [f"|{name:^{left}}|{value:>{right - 1}} |" for name, value in rows]
    return "\n".join([rule, f"|{title[0]:^{left}}|{title[1]:^{right}}|", rule, *lines, rule])


def stock_rows(f: Figures) -> list[Row]:
    """The ten figures of stock's table, under stock's names. Average tokens are per answered request."""
    per_request = max(1, f.answered)
    return [
        ("Requests/Sec", f"{f.requests_per_second:.2f}"),
        ("OP tokens/sec", f"{f.output_tokens_per_second:.2f}"),
        ("Avg. latency (ms)", _ms(f.latency.mean)),
        ("P99 latency (ms)", _ms(f.latency.percentiles[99])),
        ("P90 latency (ms)", _ms(f.latency.percentiles[90])),
        ("Avg. IP tokens per request", f"{f.input_tokens / per_request:.2f}"),
        ("Avg. OP tokens per request", f"{f.output_tokens / per_request:.2f}"),
        ("Avg. InFlight requests", f"{f.in_flight.mean:.2f}"),
        ("Total latency (ms)", _ms(f.seconds)),
        ("Total requests", f"{f.answered:.2f}"),
    ]


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


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


def _two(spread: Spread, percent: int) -> str:
    return f"{_ms(spread.mean)} / {_ms(spread.percentiles[percent])}"


def _tail(spread: Spread) -> str:
    return f"{_ms(spread.percentiles[90])} / {_ms(spread.percentiles[99])}"
