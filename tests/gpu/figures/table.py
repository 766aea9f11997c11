"""The table of figures, and what they say about the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .loads import Figures

_HEAD = ("model", "way", "load", "tok/s", "req/s", "TTFT p50", "gap p50", "tok/chunk", "CPU s")
_WIDTHS = (10, 10, 12, 9, 8, 9, 8, 9, 0)
_OURS, _THEIRS = tuple(f"ours-{n}" for n in range(1, 5)), ("vllm-1", "vllm-4", "vllm-rust")
LEGEND = """TTFT, gaps between chunks: medians over requests and chunks, in ms. «CPU s»: processor seconds by process;
front: vLLM's API processes; core: vLLM's engine core; server: tritonserver; bls, models: its Python stubs; serve: the
launcher; caller: the program around the engine alone."""


@dataclass(frozen=True)
class Row:
    """A measurement, or the reason why there is none."""

    model: str
    way: str
    load: str
    figures: Figures | None
    reason: str = ""

    def encode(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


def table(rows: Sequence[Row]) -> str:
    return "\n".join([_line(_HEAD), *(_line(_cells(row)) for row in rows)])


def _cells(row: Row) -> tuple[str, ...]:
    names, f = (row.model, row.way, row.load), row.figures
    if f is None:
        return (*names, row.reason.partition("\n")[0])
    shares = sorted((f.processor_s or {}).items(), key=lambda item: -item[1])
    used = ", ".join(f"{name} {seconds:.1f}" for name, seconds in shares if seconds >= 0.05)
    return (
        *names, f"{f.tokens_per_s:,.0f}", f"{f.requests_per_s:.1f}", _number(f.first_ms), _number(f.gap_ms),
        _number(f.tokens_per_chunk, 2), used,
    )  # fmt: skip


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    left = [f"{cell:<{width}}" for cell, width in zip(cells[:3], _WIDTHS, strict=False)]
    if len(cells) == 4:  # a reason in place of figures
        return " ".join([*left, cells[3]])
    right = [f"{cell:>{width}}" for cell, width in zip(cells[3:-1], _WIDTHS[3:-1], strict=True)]
    return " ".join([*left, *right, "", cells[-1]]).rstrip()


def goals(rows: Sequence[Row]) -> list[str]:
    """A line for each goal whose two figures were measured."""
    found: Mapping[tuple[str, str, str], Figures] = {(r.model, r.way, r.load): r.figures for r in rows if r.figures}
    lines = []
    for model in ("14b-gptq", "14b-bf16", "14b-fp8"):
        for load in ("500 streamed", "500 whole"):
            ours, alone = found.get((model, "ours-1", load)), found.get((model, "alone", "500 at once"))
            if ours and alone:
                lines.append(_goal(f"{model}, {load}: ours ÷ the engine alone", ours, alone, 0.98))
    ours, theirs = (found.get(("0.5b-bf16", way, "500 streamed")) for way in ("ours-1", "vllm-1"))
    if ours and theirs:
        lines.append(_goal("0.5b-bf16, 500 streamed: ours ÷ vLLM with one API process", ours, theirs, 1.8))
    ours, theirs = (found.get(("0.5b-bf16", way, "64 streamed")) for way in ("ours-1", "vllm-1"))
    if ours and theirs and ours.first_ms and theirs.first_ms:
        kept = "reached" if ours.first_ms <= theirs.first_ms else "NOT reached"
        lines.append(f"0.5b-bf16, 64 streamed: TTFT {ours.first_ms:.0f} ms, vLLM {theirs.first_ms:.0f} ms: {kept}")
    return lines + _beside_the_best(found)


def _beside_the_best(found: Mapping[tuple[str, str, str], Figures]) -> list[str]:
    """Our best row beside the best of vLLM's own servers, for each load of the small model; both by tokens/s."""
    lines = []
    for load in ("500 streamed", "500 whole", "64 streamed"):
        ours, theirs = (
            max(
                ((way, f) for way in ways if (f := found.get(("0.5b-bf16", way, load)))),
                key=lambda pair: pair[1].tokens_per_s,
                default=None,
            )
            for ways in (_OURS, _THEIRS)
        )
        if ours and theirs:
            what = f"0.5b-bf16, {load}: {ours[0]} ÷ {theirs[0]}"
            lines.append(_goal(what, ours[1], theirs[1], 1.0) + _beside(ours[1], theirs[1]))
    return lines


def _beside(ours: Figures, theirs: Figures) -> str:
    """TTFT, gap and processor seconds of two rows, ours first."""
    pairs = [("TTFT", ours.first_ms, theirs.first_ms, "ms"), ("gap", ours.gap_ms, theirs.gap_ms, "ms")]
    used = [sum(f.processor_s.values()) if f.processor_s else None for f in (ours, theirs)]
    pairs.append(("CPU", used[0], used[1], "s"))
    return "".join(
        f"; {name} {a:,.1f} and {b:,.1f} {unit}" for name, a, b, unit in pairs if a is not None and b is not None
    )


def _goal(what: str, ours: Figures, other: Figures, least: float) -> str:
    ratio = ours.tokens_per_s / other.tokens_per_s
    return f"{what} = {ratio:.2f}, goal {least}: {'reached' if ratio >= least else 'NOT reached'}"
