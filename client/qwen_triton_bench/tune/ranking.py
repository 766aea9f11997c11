"""Ranks settings: the most output tokens a second first, among those that keep the limits and answered every request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..report.table import Row
from .sweep import Outcome


@dataclass(frozen=True)
class LatencyLimit:
    """The greatest allowed P99, in milliseconds. `spread`: the figure it is taken from; `name`: for output."""

    name: str
    spread: str
    most_ms: float

    def value_ms(self, figures: dict[str, Any]) -> float:
        return 1e3 * float(figures[self.spread]["percentiles"]["99"])


def rank(outcomes: Sequence[Outcome], limits: Sequence[LatencyLimit]) -> list[Outcome]:
    """The best first. Settings that broke a limit, failed or have no figures come last."""
    return sorted(outcomes, key=lambda o: (bool(why_not(o, limits)), -_rate(o)))


def why_not(outcome: Outcome, limits: Sequence[LatencyLimit]) -> str:
    """The reason why a setting cannot be the best; empty when it can."""
    f = outcome.figures
    if f is None:
        return outcome.reason
    if f["errors"] or f["unfinished"] or not f["answered"]:
        return f"{f['sent'] - f['answered']} of {f['sent']} requests without an answer"
    broken = [limit for limit in limits if limit.value_ms(f) > limit.most_ms]
    return "; ".join(f"{b.name} {b.value_ms(f):.0f} ms is above {b.most_ms:g}" for b in broken)


def _rate(outcome: Outcome) -> float:
    return float(outcome.figures["output_tokens_per_second"]) if outcome.figures else 0.0


def rows(ranked: Sequence[Outcome], limits: Sequence[LatencyLimit]) -> list[Row]:
    """A row for each setting, in the given order."""
    return [(o.variant.setting.name or "as it is", _summary(o, limits)) for o in ranked]


def _summary(outcome: Outcome, limits: Sequence[LatencyLimit]) -> str:
    f, reason = outcome.figures, why_not(outcome, limits)
    if f is None:
        return reason
    figures = (
        f"{f['requests_per_second']:8.2f} req/s {f['output_tokens_per_second']:10.1f} tok/s"
        f"  latency P99 {1e3 * f['latency']['percentiles']['99']:8.0f} ms"
        f"  TTFT P99 {1e3 * f['first_token']['percentiles']['99']:7.0f} ms"
    )
    return f"{figures}  {reason}".rstrip()
