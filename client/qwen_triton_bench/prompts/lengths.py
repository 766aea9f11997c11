"""Lengths of prompts and answers in tokens: drawn from a normal distribution or a histogram."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError

_DRAWS = 1000

HISTOGRAMS: Mapping[str, Mapping[str, Any]] = {
    "example": {
        "input": {"bins": [151, 176, 201, 226, 251, 276], "weights": [220, 225, 150, 150, 140]},
        "output": {"bins": [6, 11, 16, 21, 26, 31], "weights": [76, 210, 174, 130, 152]},
    },
    "mixed": {
        "input": {"bins": [1, 64, 128, 256, 512, 1024], "weights": [30, 30, 20, 12, 8]},
        "output": {"bins": [1, 32, 64, 128, 256, 512], "weights": [15, 25, 30, 20, 10]},
    },
}
"""Built-in histograms by key; `example` is stock's. `bins` are edges, one more than `weights`; lengths are uniform within a
bin."""


@dataclass(frozen=True)
class Shape:
    """Number of tokens of a prompt and of its answer."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class NormalLengths:
    """A normal distribution of whole numbers in [1, most]; values outside are drawn again. `name`: of the options."""

    mean: float
    deviation: float
    most: int
    name: str

    def __post_init__(self) -> None:
        if self.deviation < 0:
            raise ConfigurationError(f"--{self.name}-stdev: must be 0 or more, got {self.deviation:g}")
        if not 1 <= self.mean <= self.most:
            raise ConfigurationError(
                f"--{self.name}-mean: no lengths around {self.mean:g} are possible between 1 and {self.most}"
            )

    def draw(self, chance: random.Random) -> int:
        for _ in range(_DRAWS):
            value = round(chance.gauss(self.mean, self.deviation))
            if 1 <= value <= self.most:
                return value
        return round(self.mean)


@dataclass(frozen=True)
class LengthHistogram:
    """Lengths by weight, in the form of HISTOGRAMS."""

    bins: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def read(cls, data: Any, location: str) -> LengthHistogram:
        """Decodes a JSON object. Raises ConfigurationError naming its location."""
        try:
            bins, weights = tuple(map(int, data["bins"])), tuple(map(float, data["weights"]))
        except (KeyError, TypeError, ValueError):
            raise ConfigurationError(f'{location}: expected {{"bins": [edges], "weights": [numbers]}}') from None
        if len(bins) != len(weights) + 1 or list(bins) != sorted(set(bins)) or bins[0] < 1:
            raise ConfigurationError(f"{location}: bins must rise from 1 or more and be one more than weights")
        if min(weights) < 0 or not sum(weights):
            raise ConfigurationError(f"{location}: weights must not be negative, and not all zero")
        return cls(bins, weights)

    def draw(self, chance: random.Random) -> int:
        n = chance.choices(range(len(self.weights)), self.weights)[0]
        return chance.randrange(self.bins[n], self.bins[n + 1])


Lengths = NormalLengths | LengthHistogram


def read_histograms(file: Path | None, key: str) -> tuple[LengthHistogram, LengthHistogram]:
    """Input and output lengths of a file, or the built-in ones of that key. Raises ConfigurationError."""
    location = f"--histogram {file}" if file else f"--histogram-key {key}"
    try:
        data = json.loads(file.read_text(encoding="utf-8")) if file else HISTOGRAMS[key]
    except KeyError:
        raise ConfigurationError(
            f"{location}: unknown; there is {', '.join(HISTOGRAMS)}, or give --histogram FILE"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{location}: cannot be read as JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise ConfigurationError(f'{location}: expected {{"input": …, "output": …}}')
    found = [LengthHistogram.read(data.get(part), f"{location}, {part}") for part in ("input", "output")]
    return found[0], found[1]


def draw_shapes(lengths: tuple[Lengths, Lengths], count: int, seed: int) -> list[Shape]:
    """`count` shapes from the lengths of prompts and of answers; the same seed gives the same ones."""
    chance = random.Random(seed)
    return [Shape(lengths[0].draw(chance), lengths[1].draw(chance)) for _ in range(count)]
