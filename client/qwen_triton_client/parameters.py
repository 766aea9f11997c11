"""The parameters of an answer, in one table: keyword arguments of Session and flags of the commands come from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from qwen_triton.errors import InvalidRequest
from qwen_triton.types import GenerateRequest, SamplingParams, StopConditions, TokenBias

Part = Literal["request", "sampling", "stop", "bias"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """`part` and `field`: where in a GenerateRequest it goes. `many`: a list of `kind`. `kind` dict: JSON or a mapping."""

    name: str
    kind: type[Any]
    help: str
    part: Part = "sampling"
    field: str = ""
    many: bool = False


PARAMETERS = (
    Parameter("max_tokens", int, "most tokens of the answer (default: the rest of the context)"),
    Parameter("min_tokens", int, "fewest tokens before the answer may end"),
    Parameter("temperature", float, "0 = always the likeliest token; higher is more varied"),
    Parameter("top_k", int, "choose among the K likeliest tokens only; 0 = all"),
    Parameter("top_p", float, "choose among the likeliest tokens that make up this share"),
    Parameter("min_p", float, "leave out tokens less likely than this share of the likeliest one"),
    Parameter("repetition_penalty", float, "above 1: tokens that occurred become less likely"),
    Parameter("presence_penalty", float, "-2 to 2: lowers tokens that occurred in the answer, once"),
    Parameter("frequency_penalty", float, "-2 to 2: lowers them for every time they occurred"),
    Parameter("length_penalty", float, "beam search: above 0 favours longer answers"),
    Parameter("seed", int, "the same seed gives the same answer (default: a fresh one)"),
    Parameter("logprobs", int, "log probabilities: 0 = of the chosen tokens, N = also of the N likeliest"),
    Parameter("n", int, "how many answers"),
    Parameter("best_of", int, "generate so many, return the n likeliest"),
    Parameter("beam_width", int, "beam search with so many beams"),
    Parameter("stop", str, "end the answer before this text", "stop", "strings", many=True),
    Parameter("stop_token_ids", int, "end the answer before this token id", "stop", "token_ids", many=True),
    Parameter("include_stop_str_in_output", bool, "keep the stop text in the answer", "stop", "include_in_output"),
    Parameter("ignore_eos", bool, "do not end at the model's own end", "stop"),
    Parameter("bad_words", str, "never say this", "bias", many=True),
    Parameter("logit_bias", dict, 'add to the score of token ids: {"1234": -5}', "bias", "token_ids"),
    Parameter("bias_words", dict, 'add to the score of words: {"maybe": -5}', "bias", "words"),
    Parameter("end_id", int, "end at this token id instead of the checkpoint's own", "request"),
    Parameter("pad_id", int, "pad with this token id instead of the checkpoint's own", "request"),
    Parameter("echo", bool, "put the prompt before the answer", "request"),
    Parameter("accumulate", bool, "each piece of a stream is the whole text so far", "request"),
    Parameter("prompt_format", str, "chat: a text is one user turn; raw: it stands as it is", "request"),
    Parameter("chat_template_kwargs", dict, "options of the chat template, as JSON", "request", "template_options"),
)
_ACCEPTED: Mapping[type[Any], tuple[type[Any], ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}
_BY_NAME = {p.name: p for p in PARAMETERS}


def build_request(given: Mapping[str, Any], **prompt: Any) -> GenerateRequest:
    """A request from parameters by name (None = not given) and its prompt. Raises InvalidRequest for an unknown name."""
    parts: dict[str, dict[str, Any]] = {"request": {}, "sampling": {}, "stop": {}, "bias": {}}
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
        **parts["request"],
        **prompt,
    )


def _typed(parameter: Parameter, value: Any) -> Any:
    if parameter.many:
        values = [value] if isinstance(value, (str, int)) else value
        return tuple(_one(parameter, v) for v in values)
    if parameter.kind is not dict:
        return _one(parameter, value)
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"expected a mapping, got {type(value).__name__}", parameter.name)
    if parameter.part == "request":
        return value
    key: Callable[[Any], Any] = int if parameter.name == "logit_bias" else str
    try:
        pairs = {key(k): float(v) for k, v in value.items()}
    except (TypeError, ValueError):
        raise InvalidRequest("expected numbers", parameter.name) from None
    return tuple(pairs.items()) if parameter.field == "words" else pairs


def _one(parameter: Parameter, value: Any) -> Any:
    kind = parameter.kind
    if not isinstance(value, _ACCEPTED[kind]) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequest(f"expected {kind.__name__}, got {value!r}", parameter.name)
    return value
