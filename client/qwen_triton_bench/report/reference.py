"""Compares a run's figures with those of a reference file, by stock's rule for --check-perf-json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..run.statistics import Figures
from .table import STOCK_FIGURES


@dataclass(frozen=True)
class Reference:
    """Figures by stock's names. A value passes within `absolute` plus `relative` times that of the reference."""

    figures: Mapping[str, float]
    absolute: float
    relative: float

    @classmethod
    def read(cls, file: Path, key: str | None, absolute: float, relative: float) -> Reference:
        """The entry `key` of a JSON file. Raises ConfigurationError with the option at fault."""
        if not key:
            raise ConfigurationError("--check-perf-key: says which entry of --check-perf-json is compared; give it")
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
            figures = {str(name): float(value) for name, value in entries[key].items()}
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--check-perf-json {file}: cannot be read: {error}") from None
        except (KeyError, TypeError, AttributeError):
            raise ConfigurationError(f"--check-perf-key {key}: {file} has no such object of figures; add one") from None
        unknown = [name for name in figures if name not in _NAMES]
        if not figures or unknown:
            what = f"{unknown[0]!r} is none" if unknown else "it has none"
            raise ConfigurationError(f"--check-perf-key {key}: expected figures, {what}; there are {', '.join(_NAMES)}")
        return cls(figures, absolute, relative)

    def faults(self, found: Figures) -> list[str]:
        """A line for each figure that is too far from the reference."""
        values = {name: STOCK_FIGURES[_NAMES[name]](found) for name in self.figures}
        return [
            f"{name} is {values[name]:.2f} where the reference is {expected:.2f}"
            for name, expected in self.figures.items()
            if abs(values[name] - expected) > self.absolute + self.relative * abs(expected)
        ]


_NAMES = {name: name for name in STOCK_FIGURES} | {
    "Avg. Input tokens per request": "Avg. IP tokens per request",
    "Avg. Output tokens per request": "Avg. OP tokens per request",
}
"""Names of figures in a reference to those in the table; stock's later versions spell two of them out."""
