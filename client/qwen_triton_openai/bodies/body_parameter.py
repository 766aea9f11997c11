"""Rows of a table of parameters, and how the three classes of rows are made; each API has a table of them.

Each row is of one of three classes (`Handling`): honoured, with the fields of the GenerateRequest that it sets; a hint,
which changes no answer and is taken; or neutral: of a parameter that is not honoured only the values that ask for nothing
are taken. All else is refused by name. Knows no HTTP and no tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from qwen_triton.types import SAMPLING, SamplingParameter

CHAT, COMPLETIONS = "chat", "completions"
MESSAGES, COUNT_TOKENS = "messages", "count_tokens"
BOTH = (CHAT, COMPLETIONS)
RESPONSES = "responses"

Handling = Literal["honoured", "hint", "neutral"]


@dataclass(frozen=True)
class BodyParameter:
    """One parameter. `kind`: its type; `example`: a value that is taken (of a neutral row: a value that is refused).

    `sets`: the fields of GenerateRequest that the example changes, with the values they get. `neutral`: the values of
    a neutral row, which ask for nothing and are taken; with none of them every value but null is refused.
    """

    name: str
    kind: Any
    example: Any
    text: str
    sets: dict[str, Any] | None = None
    endpoints: tuple[str, ...] = BOTH
    required: bool = False
    handling: Handling = "honoured"
    neutral: tuple[Any, ...] = ()


def hint(name: str, kind: Any, example: Any, text: str, *endpoints: str) -> BodyParameter:
    return BodyParameter(name, kind, example, text, None, endpoints or BOTH, handling="hint")


def neutral(
    name: str, kind: Any, example: Any, why: str, *neutral: Any, only: str | tuple[str, ...] = BOTH
) -> BodyParameter:
    """A parameter that is not honoured, because of `why`; `example` is refused, the `neutral` values are taken."""
    endpoints = (only,) if isinstance(only, str) else only
    return BodyParameter(name, kind, example, why, None, endpoints, handling="neutral", neutral=neutral)


SAMPLED = tuple(p for p in SAMPLING if p.openai and p.name != "logprobs")
"""The sampling parameters that mean the same in OpenAI's body; `logprobs` has a form of its own at each endpoint."""
LOWEST, HIGHEST = {"top_k": -1}, {"temperature": 2}
"""Bounds of OpenAI's API that are not the core's: clients send a top_k of -1, and OpenAI refuses a temperature above 2."""
_REMARKS = {
    "max_tokens": "the context is another bound",
    "temperature": "the deployment's (1) without it",
    "top_p": "the deployment's (1) without it",
    "top_k": "-1 is another way to say 0",
    "best_of": "not with stream",
    "priority": "the vllm engine with `scheduling_policy: priority`; others refuse all but 0",
}


def sampled(row: SamplingParameter, *endpoints: str) -> BodyParameter:
    """A row of the core's table; pydantic checks its type, SamplingParams its range, which the OpenAPI document has too."""
    low, high = LOWEST.get(row.name, row.low), HIGHEST.get(row.name, row.high)
    bounds: dict[str, Any] = {"exclusiveMinimum" if row.above_low else "minimum": low, "maximum": high}
    example = row.kind(2) if row.kind is int else 0.5
    text = f"{row.help} ({replace(row, high=high).range_text})"
    return BodyParameter(
        row.openai,
        Annotated[row.kind, Field(json_schema_extra=bounds)],
        example,
        f"{text}; {_REMARKS[row.name]}" if row.name in _REMARKS else text,
        {f"sampling.{row.name}": example},
        endpoints,
    )


_MARKS: dict[Handling, str] = {"honoured": "✓", "hint": "hint", "neutral": "–"}


def markdown_table(rows: Iterable[BodyParameter], endpoints: Sequence[str]) -> str:
    """The rows as a table in Markdown, one line each, in their order, with a column for each endpoint."""
    head = [f"| parameter | {' | '.join(endpoints)} | what is done with it |", "|---" * (len(endpoints) + 2) + "|"]
    return "\n".join([*head, *(_markdown_row(row, endpoints) for row in rows)]) + "\n"


def _markdown_row(parameter: BodyParameter, endpoints: Sequence[str]) -> str:
    text = f"refused: {parameter.text}" if parameter.handling == "neutral" else parameter.text
    if parameter.neutral:
        text += f" ({', '.join(f'`{json.dumps(value)}`' for value in parameter.neutral)} taken)"
    marks = " | ".join(_MARKS[parameter.handling] if e in parameter.endpoints else "" for e in endpoints)
    return f"| `{parameter.name}` | {marks} | {text} |"
