"""Costs as a table, one row printed after each measurement, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .floor import FIGURES
from .measure import Cost

PROCESSES = ("server", "preprocessing", "tensorrt_llm", "engine", "postprocessing", "tensorrt_llm_bls", "shim", "other")
_SHORT = {"preprocessing": "pre", "tensorrt_llm": "trt_llm", "postprocessing": "post", "tensorrt_llm_bls": "bls"}
_SHOWN_US = 0.05
_WIDTHS = (14, 9, 6, 9, 7, *[8] * len(PROCESSES), 7, 9, 8, 8, 8, 8, 7, 7, 6)

LEGEND = """CPU in us per streamed token: «all» processes of the server, then each of them; «client»: this tool, not in «all».
«floor»: a model that only makes tokens and sends them, in «other».
TTFT and gaps between responses in ms; «added»: time per token beyond the engine's step; «t/resp»: tokens a response.
«batch»: mean sequences of a step of the engine; «next»: from a sequence's end to the first token of the next in its place."""


def header() -> str:
    """Names of the columns."""
    names = ("repository", "via", "at once", "tokens/s", "all", *(_SHORT.get(p, p) for p in PROCESSES), "client")
    return _columns((*names, "TTFT p50", "gap p50", "gap p99", "added", "t/resp", "batch", "next", "errors"))


def row(cost: Cost) -> str:
    """One measurement."""
    f = cost.figures
    used = {p: cost.microseconds.get(p, 0.0) for p in PROCESSES}
    used["other"] = cost.total - sum(used[p] for p in PROCESSES[:-1])
    parts = [f"{used[p]:.1f}" if used[p] >= _SHOWN_US else "-" for p in PROCESSES]
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
            "-" if cost.batch is None else f"{cost.batch:.1f}",
            "-" if cost.successor_ms is None else f"{cost.successor_ms:.1f}",
            str(sum(f.errors.values())),
        )
    )


def ratio_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the ratios to the floor, and an empty line behind it; nothing where there are none."""
    if not found:
        return []
    lines = ["", "Divided by the floor, a model that only makes tokens and sends them, of the same run:"]
    names = ("repository", "via", "at once", *FIGURES.values())
    lines.append(_spaced(names))
    for ratio in found:
        shown = (f"{ratio[f]:.2f}" if f in ratio else "-" for f in FIGURES)
        lines.append(_spaced((ratio["repository"][: _WIDTHS[0]], ratio["via"], str(ratio["concurrency"]), *shown)))
    return [*lines, ""]


def _spaced(cells: Sequence[str]) -> str:
    widths = (*_WIDTHS[:3], *[9] * len(FIGURES))
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


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
