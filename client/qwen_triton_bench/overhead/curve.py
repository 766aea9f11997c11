"""The curve of processor time against gaps: the BLS at several settings of `repository.max_responses_per_s`.

A response through Triton costs much the same whatever is in it, so fewer responses cost less and come at longer gaps. The
knee is where the gap grows faster than the cost falls; it depends on the machine, so it is measured, not computed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .measure import Cost

_HEAD = (
    "most",
    "via",
    "at once",
    "sent a second",
    "t/resp",
    "gap p50",
    "gap p99",
    "TTFT p50",
    "tokens/s",
    "CPU s/M tok",
)
_WIDTHS = (12, 9, 7, 13, 7, 8, 8, 9, 9, 11)


def setting_name(responses_per_s: int) -> str:
    """How a row names the setting."""
    return f"{responses_per_s:,}/s" if responses_per_s else "by cores"


def curve_lines(costs: Sequence[Cost]) -> list[str]:
    """A line for each measurement, by target and requests at once, from the shortest gap to the longest. Times in ms."""
    ordered = sorted(costs, key=lambda c: (c.via, c.work.concurrency, c.figures.gaps.percentiles[50]))
    return [
        "",
        "Processor seconds for a million tokens against gaps, by the most responses a second:",
        _line(_HEAD),
    ] + [_line(_cells(cost)) for cost in ordered]


def _cells(cost: Cost) -> tuple[str, ...]:
    f = cost.figures
    return (
        cost.repository, cost.via, str(cost.work.concurrency), f"{f.responses / f.seconds if f.seconds else 0.0:,.0f}",
        f"{f.tokens_per_response:.2f}", f"{1e3 * f.gaps.percentiles[50]:.1f}", f"{1e3 * f.gaps.percentiles[99]:.1f}",
        f"{1e3 * f.first_token.percentiles[50]:.1f}", f"{f.output_tokens_per_second:,.0f}",
        f"{cost.total:.1f}",  # microseconds a token are seconds a million
    )  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
