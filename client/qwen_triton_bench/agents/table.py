"""Figures of one measurement as a row of a table, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from .asking import Answered

_WIDTHS = (9, 7, 14, 15, 10, 10, 14, 14, 8, 7)
LEGEND = """Times to the first token in ms. «first turn»: the whole history is new; «next p50»: what the turn added is new.
«× alone»: the neighbour's median beside the agents, as a multiple of its median without them in this run."""


def percentile(seconds: Sequence[float], percent: int) -> float:
    """In ms, 0 without any."""
    if len(seconds) < 2:
        return 1e3 * sum(seconds)
    return 1e3 * (median(seconds) if percent == 50 else quantiles(seconds, n=100, method="inclusive")[percent - 1])


@dataclass(frozen=True)
class AgentFigures:
    """One measurement: the neighbour's answers, and those of each agent turn by turn; no agents: the neighbour alone."""

    via: str
    neighbour: Sequence[Answered]
    agents: Sequence[Sequence[Answered]] = ()

    @property
    def errors(self) -> Counter[str]:
        answers = [*self.neighbour, *(one for agent in self.agents for one in agent)]
        return Counter(one.error for one in answers if one.error)

    def figures(self, alone_p50: float) -> dict[str, float]:
        """Figures by name; times in ms. `alone_p50`: the neighbour's median without agents."""
        first = [one for agent in self.agents for one in agent[:1] if not one.error]
        later = [one for agent in self.agents for one in agent[1:] if not one.error]
        beside = [one.first_token_s for one in self.neighbour if not one.error]
        tokens = [one.input_tokens for one in later]
        return {
            "agents": len(self.agents),
            "prompt_tokens": median(tokens) if tokens else 0,
            "first_turn_p50": percentile([one.first_token_s for one in first], 50),
            "next_p50": percentile([one.first_token_s for one in later], 50),
            "next_p95": percentile([one.first_token_s for one in later], 95),
            "neighbour_p50": percentile(beside, 50),
            "neighbour_p99": percentile(beside, 99),
            "times_alone": percentile(beside, 50) / alone_p50 if alone_p50 else 0.0,
            "errors": self.errors.total(),
        }


def header() -> str:
    """Names of the columns."""
    names = ("prompt tokens", "first turn p50", "next p50", "next p95", "neighbour p50", "neighbour p99", "× alone")
    return _columns(("via", "agents", *names, "errors"))


def line(row: AgentFigures, alone_p50: float) -> str:
    """One measurement."""
    agents, tokens, first, later, p95, p50, p99, times, errors = row.figures(alone_p50).values()
    turns = [f"{value:.1f}" if agents else "-" for value in (first, later, p95)]
    shown = f"{tokens:,.0f}" if agents else "-"
    return _columns((row.via, str(agents), shown, *turns, f"{p50:.1f}", f"{p99:.1f}", f"{times:.2f}", str(errors)))


def _columns(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def encode_rows(rows: Sequence[AgentFigures]) -> list[dict[str, Any]]:
    """All figures as JSON values; the row without agents of each target comes before its others."""
    encoded, alone = [], 0.0
    for row in rows:
        alone = alone if row.agents else percentile([one.first_token_s for one in row.neighbour if not one.error], 50)
        encoded.append({"via": row.via, **row.figures(alone)})
    return encoded
