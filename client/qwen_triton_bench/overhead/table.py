"""Costs as a table, one row printed after each measurement, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .measure import Cost

PROCESSES = ("server", "preprocessing", "tensorrt_llm", "engine", "postprocessing", "tensorrt_llm_bls", "shim", "other")
_SHORT = {"preprocessing": "pre", "tensorrt_llm": "trt_llm", "postprocessing": "post", "tensorrt_llm_bls": "bls"}
_WIDTHS = (14, 9, 6, 9, 7, *[8] * len(PROCESSES), 7, 9, 8, 8, 8, 8, 6)

LEGEND = """CPU in us per streamed token: «all» processes of the server, then each of them; «client»: this tool, not in «all».
TTFT and gaps between responses in ms; «added»: time per token beyond the engine's step; «t/resp»: tokens a response."""


def header() -> str:
    """Names of the columns."""
    names = ("repository", "via", "at once", "tokens/s", "all", *(_SHORT.get(p, p) for p in PROCESSES), "client")
    return _columns((*names, "TTFT p50", "gap p50", "gap p99", "added", "t/resp", "errors"))


def row(cost: Cost) -> str:
    """One measurement."""
    f = cost.figures
    parts = [f"{cost.microseconds[p]:.1f}" if cost.microseconds.get(p) else "-" for p in PROCESSES]
    added = cost.gap_added_ms
    return _columns(
        (
            cost.repository[: _WIDTHS[0]],
            cost.via,
            str(cost.work.concurrency),
            f"{f.output_tokens_per_second:,.0f}",
            f"{cost.total:.1f}",
            *parts,
            f"{cost.client:.1f}",
            f"{1e3 * f.first_token.percentiles[50]:.1f}",
            f"{1e3 * f.gaps.percentiles[50]:.1f}",
            f"{1e3 * f.gaps.percentiles[99]:.1f}",
            "-" if added is None else f"{added:.2f}",
            f"{f.tokens_per_response:.2f}",
            str(sum(f.errors.values())),
        )
    )


def _columns(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def encode_cost(cost: Cost) -> dict[str, Any]:
    """All figures of a measurement as JSON values."""
    return asdict(cost) | {
        "cpu_us_per_token": cost.total,
        "client_us_per_token": cost.client,
        "tokens_per_second": cost.figures.output_tokens_per_second,
        "tokens_per_response": cost.figures.tokens_per_response,
    }
