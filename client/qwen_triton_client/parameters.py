"""Parameters of an answer: Session's keyword arguments and the commands' flags, as a GenerateRequest.

The sampling parameters are those of the core's table; the others are listed here. Knows no tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from qwen_triton.errors import InvalidRequest
from qwen_triton.types import (
    SAMPLING,
    Form,
    GenerateRequest,
    SamplingParameter,
    SamplingParams,
    StopConditions,
    TokenBias,
)

Part = Literal["request", "sampling", "stop", "bias", "form"]


@dataclass(frozen=True, slots=True)
class AnswerParameter:
    """One parameter. `part` and `field`: where in a GenerateRequest it goes, "" = a field of the parameter's name.

    `many`: a list of `kind`. `kind` dict: a mapping, or a JSON object on a command line. `unit`: what a number counts.
    `file`: on a command line, the name of a file that holds it.
    """

    name: str
    kind: type[Any]
    help: str
    part: Part = "sampling"
    field: str = ""
    many: bool = False
    unit: str = ""
    file: bool = False


def _sampling(row: SamplingParameter) -> AnswerParameter:
    return AnswerParameter(row.name, row.kind, f"{row.help} ({row.range_text})", unit=row.unit)


PARAMETERS = (
    *map(_sampling, SAMPLING),
    AnswerParameter("stop", str, "end the answer before this text", "stop", "strings", many=True),
    AnswerParameter("stop_token_ids", int, "end the answer before this token id", "stop", "token_ids", many=True),
    AnswerParameter(
        "include_stop_str_in_output", bool, "keep the stop text in the answer", "stop", "include_in_output"
    ),
    AnswerParameter("ignore_eos", bool, "do not end at the model's own end", "stop"),
    AnswerParameter("bad_words", str, "never say this", "bias", many=True),
    AnswerParameter("logit_bias", dict, 'add to the score of token ids: {"1234": -5}', "bias", "token_ids"),
    AnswerParameter("bias_words", dict, 'add to the score of words: {"maybe": -5}', "bias", "words"),
    AnswerParameter("json_schema", dict, "the answer is JSON of this schema", "form", file=True),
    AnswerParameter("regex", str, "the answer matches this regex as a whole", "form"),
    AnswerParameter("choice", str, "the answer is this text, or one of these", "form", many=True),
    AnswerParameter("grammar", str, "the answer is of this grammar, in EBNF with a rule root", "form"),
    AnswerParameter("end_id", int, "end at this token id instead of the checkpoint's own", "request"),
    AnswerParameter("pad_id", int, "pad with this token id instead of the checkpoint's own", "request"),
    AnswerParameter("lora_name", str, "the engine's adapter that answers", "request"),
    AnswerParameter("echo", bool, "put the prompt before the answer", "request"),
    AnswerParameter("clamp_max_tokens", bool, "cut a max_tokens beyond the context to what fits", "request"),
    AnswerParameter("accumulate", bool, "each piece of a stream is the whole text so far", "request"),
    AnswerParameter("parallel_tool_calls", bool, "false: the answer ends with its first tool call", "request"),
    AnswerParameter("return_token_ids", bool, "pieces have the token ids of the prompt and the answer", "request"),
    AnswerParameter("prompt_format", str, "chat: a text is one user turn; raw: it stands as it is", "request"),
    AnswerParameter(
        "chat_template_kwargs", dict, "options of the chat template, as JSON", "request", "template_options"
    ),
)
_ACCEPTED: Mapping[type[Any], tuple[type[Any], ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}
_BY_NAME = {p.name: p for p in PARAMETERS}


def build_request(given: Mapping[str, Any], **prompt: Any) -> GenerateRequest:
    """A request from parameters by name (None = not given) and its prompt: `prompt`, `messages` or `token_ids`.

    Raises InvalidRequest with the parameter's name: for an unknown one, a wrong type, or a value outside its range.
    """
    parts: dict[str, dict[str, Any]] = {"request": {}, "sampling": {}, "stop": {}, "bias": {}, "form": {}}
    for name, value in given.items():
        if name not in _BY_NAME:
            near = get_close_matches(name, _BY_NAME, 1)
            raise InvalidRequest("no such parameter" + (f"; did you mean {near[0]}?" if near else ""), name)
        if value is not None:
            parameter = _BY_NAME[name]
            parts[parameter.part][parameter.field or name] = _typed(parameter, value)
    return GenerateRequest(
        sampling=SamplingParams(**parts["sampling"]),
        stop=StopConditions(**parts["stop"]),
        bias=TokenBias(**parts["bias"]),
        form=_form(parts["form"]),
        **parts["request"],
        **prompt,
    )


def _form(given: Mapping[str, Any]) -> Form | None:
    if len(given) > 1:
        first, second = list(given)[:2]
        raise InvalidRequest(f"{first} asks for a form of the answer too; give one of them", second)
    for name, value in given.items():
        return Form(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))  # type: ignore[arg-type]  # the names are kinds
    return None


def _typed(parameter: AnswerParameter, value: Any) -> Any:
    if parameter.many:
        values = [value] if isinstance(value, (str, int)) else value
        return tuple(_one(parameter, v) for v in values)
    if parameter.kind is not dict:
        return _one(parameter, value)
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"expected a mapping, got {type(value).__name__}", parameter.name)
    if parameter.part in ("request", "form"):
        return value
    key: Callable[[Any], Any] = int if parameter.name == "logit_bias" else str
    try:
        pairs = {key(k): float(v) for k, v in value.items()}
    except (TypeError, ValueError):
        raise InvalidRequest("expected numbers", parameter.name) from None
    return tuple(pairs.items()) if parameter.field == "words" else pairs


def _one(parameter: AnswerParameter, value: Any) -> Any:
    kind = parameter.kind
    if not isinstance(value, _ACCEPTED[kind]) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequest(f"expected {kind.__name__}, got {value!r}", parameter.name)
    return value
