"""The floor: what the machine can do at most under the same load, by a model that only makes tokens and sends them.

Every other figure is a ratio to that of the same run, because the machine's speed varies from hour to hour.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from qwen_triton.tensors.contract import NUM_OUTPUT_TOKENS, STREAM, TEXT_INPUT, TEXT_OUTPUT

from .measure import Cost

FLOOR = "floor"
_MODEL = Path(__file__).with_name("floor_model.py")
_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 64
dynamic_batching {{ }}
model_transaction_policy {{ decoupled: true }}
input [
  {{ name: "{prompt}" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "max_tokens" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "{stream}" data_type: TYPE_BOOL dims: [ 1 ] optional: true }}
]
output [
  {{ name: "{answer}" data_type: TYPE_STRING dims: [ -1 ] }},
  {{ name: "{count}" data_type: TYPE_INT32 dims: [ -1 ] }}
]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""
FIGURES: Mapping[str, str] = {"tokens_per_s": "tokens/s", "cpu": "CPU", "gap": "gap p50", "ttft": "TTFT p50"}
"""Figures that have a ratio, by their name in JSON; as the table calls them."""


def floor_repository(tokenizer: Path, folder: Path, step_ms: float, tokens_per_step: int) -> Path:
    """A repository below `folder` with the floor's model alone. `tokenizer`: a tokenizer.json."""
    repository = folder / "repository"
    version = repository / FLOOR / "1"
    version.mkdir(parents=True)
    shutil.copy(_MODEL, version / "model.py")
    config = _CONFIG.format(name=FLOOR, prompt=TEXT_INPUT, stream=STREAM, answer=TEXT_OUTPUT, count=NUM_OUTPUT_TOKENS)
    values = {"tokenizer": str(tokenizer.resolve()), "step_ms": step_ms, "tokens_per_step": tokens_per_step}
    for key, value in values.items():
        config += f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
    (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    return repository


def ratios(costs: Sequence[Cost]) -> list[dict[str, str | int | float]]:
    """Each measurement divided by the floor at as many requests at once: mean of several alike, by figure.

    Empty where no floor was measured. A figure that is 0 in the floor has no ratio.
    """
    found: list[dict[str, str | int | float]] = []
    alike: dict[tuple[int, str, str], list[Cost]] = {}
    for cost in costs:
        alike.setdefault((cost.work.concurrency, cost.repository, cost.via), []).append(cost)
    for (concurrency, repository, via), group in alike.items():
        floors = next((group for (at, _, v), group in alike.items() if (at, v) == (concurrency, FLOOR)), None)
        if via != FLOOR and floors:
            ours, least = _means(group), _means(floors)
            divided = {name: ours[name] / least[name] for name in FIGURES if least[name]}
            found.append({"repository": repository, "via": via, "concurrency": concurrency, **divided})
    return found


def _means(costs: Sequence[Cost]) -> dict[str, float]:
    return {
        "tokens_per_s": mean(c.figures.output_tokens_per_second for c in costs),
        "cpu": mean(c.total for c in costs),
        "gap": mean(c.figures.gaps.percentiles[50] for c in costs),
        "ttft": mean(c.figures.first_token.percentiles[50] for c in costs),
    }
