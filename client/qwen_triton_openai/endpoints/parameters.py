"""Parameters of /v1/chat/completions and /v1/completions: one table, of which bodies, documents and tests are made.

Each row is of one of three classes (`Handling`): honoured, with the fields of the GenerateRequest that it sets; a hint,
which changes no answer and is taken; or neutral: of a parameter that is not honoured only the values that ask for nothing
are taken. All else is refused by name. The sampling parameters are rows of the core's table (types.SAMPLING). `null` is
«not given» for each. Knows no HTTP and no tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from qwen_triton.types import SAMPLING, Form, SamplingParameter

CHAT, COMPLETIONS = "chat", "completions"
BOTH = (CHAT, COMPLETIONS)

Handling = Literal["honoured", "hint", "neutral"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_List = Field(fail_fast=True)
"""Ends a list's check at its first fault: to collect a million of them takes seconds, in which nobody else is answered."""
_Strings = Annotated[list[str], _List]
_Texts = str | _Strings
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], _List]
Objects = Annotated[list[dict[str, Any]], _List]
_Tops = Annotated[int, Field(ge=0, le=20)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


def _object_of(kind: Any) -> Any:
    """An object whose values are of one type; as with `_List`, its check ends at the first fault."""
    one = TypeAdapter(kind, config=ConfigDict(strict=True))

    def check(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        for key, value in given.items() if isinstance(given, dict) else ():
            try:
                one.validate_python(value)
            except ValidationError:
                return validate({key: value})  # raises, with the key
        return validate(given)

    return Annotated[dict[str, kind], WrapValidator(check)]


_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
_MESSAGES = [{"role": "user", "content": "你好"}]


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


def _chat(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (CHAT,), **more)


def _completions(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (COMPLETIONS,), **more)


def _hint(name: str, kind: Any, example: Any, text: str, *endpoints: str) -> BodyParameter:
    return BodyParameter(name, kind, example, text, None, endpoints or BOTH, handling="hint")


def _neutral(name: str, kind: Any, example: Any, why: str, *neutral: Any, only: str | None = None) -> BodyParameter:
    """A parameter that is not honoured, because of `why`; `example` is refused, the `neutral` values are taken."""
    endpoints = (only,) if only else BOTH
    return BodyParameter(name, kind, example, why, None, endpoints, handling="neutral", neutral=neutral)


SAMPLED = tuple(p for p in SAMPLING if p.openai and p.name != "logprobs")
"""The sampling parameters that mean the same in OpenAI's body; `logprobs` has a form of its own at each endpoint."""
_ENDPOINTS = {"best_of": (COMPLETIONS,)}
LOWEST, HIGHEST = {"top_k": -1}, {"temperature": 2}
"""Bounds of OpenAI's API that are not the core's: clients send a top_k of -1, and OpenAI refuses a temperature above 2."""
_REMARKS = {
    "max_tokens": "the context is another bound",
    "temperature": "the deployment's (1) without it",
    "top_p": "the deployment's (1) without it",
    "top_k": "-1 is another way to say 0",
    "best_of": "not with stream",
}


def _sampling(row: SamplingParameter) -> BodyParameter:
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
        _ENDPOINTS.get(row.name, BOTH),
    )


PARAMETERS = (
    BodyParameter("model", str, "qwen", "one of the names in /v1/models", required=True),
    _chat(
        "messages",
        Annotated[Objects, Field(min_length=1)],
        _MESSAGES,
        "roles system, developer (as system), user, assistant, tool; content a text or text parts; an assistant's "
        "tool_calls and reasoning_content may be sent back; other keys, such as name, reach the chat template, and Qwen's do "
        "not read them",
        {"messages": tuple(_MESSAGES)},
        required=True,
    ),
    _completions(
        "prompt",
        _Texts | TokenIds | Annotated[list[TokenIds], _List],
        "你好",
        "a text, token ids, or a list of either; each prompt is answered as choices of its own",
        {"prompt": "你好"},
        required=True,
    ),
    *map(_sampling, SAMPLED),
    _chat(
        "max_completion_tokens", _Count, 7, "another name of max_tokens; give one of them", {"sampling.max_tokens": 7}
    ),
    BodyParameter("stop", _Texts, ["\n\n"], "matched in the text, left out of it", {"stop.strings": ("\n\n",)}),
    BodyParameter("stop_token_ids", TokenIds, [198], "token ids that end the answer", {"stop.token_ids": (198,)}),
    BodyParameter(
        "include_stop_str_in_output", bool, True, "leaves the stop string in the text", {"stop.include_in_output": True}
    ),
    BodyParameter("ignore_eos", bool, True, "goes on to max_tokens or a stop", {"stop.ignore_eos": True}),
    BodyParameter(
        "logit_bias",
        _object_of(float),
        {"198": -100},
        "added to the logits of token ids",
        {"bias.token_ids": {198: -100.0}},
    ),
    _chat("logprobs", bool, True, "log probabilities of all tokens of the answer", {"sampling.logprobs": 0}),
    _completions(
        "logprobs",
        int,
        2,
        "as many of the likeliest at each place, up to 20, in the old format",
        {"sampling.logprobs": 2},
    ),
    _chat("top_logprobs", _Tops, 3, "up to 20 of the likeliest at each place; needs logprobs"),
    _completions("echo", bool, True, "puts the prompt before the answer; not with logprobs", {"echo": True}),
    BodyParameter("stream", bool, True, "answers as server-sent events", {"stream": True}),
    BodyParameter(
        "stream_options",
        _object_of(bool | None),
        {"include_usage": True},
        "include_usage: a last chunk with the usage; continuous_usage_stats: with it, each chunk has the usage so far; "
        "include_obfuscation is a hint; needs stream",
    ),
    _chat("tools", Objects, [_TOOL], "functions that the model may call", {"tools": (_TOOL,)}),
    _chat(
        "tool_choice",
        str | dict[str, Any],
        "none",
        "auto; none (the model does not see the tools); required and a named function: the answer begins as a call",
    ),
    _chat("parallel_tool_calls", bool, False, "false: the answer ends when its first call is closed"),
    BodyParameter(
        "response_format",
        dict[str, Any],
        {"type": "json_object"},
        "text, json_object, json_schema (strict or not, it is kept) or structural_tag; see structured-output.md",
        {"form": Form("json_object")},
    ),
    BodyParameter(
        "structured_outputs",
        dict[str, Any],
        {"choice": ["yes", "no"]},
        "vLLM's: one of json, json_object, regex, choice, grammar, structural_tag",
        {"form": Form("choice", '["yes", "no"]')},
    ),
    BodyParameter(
        "guided_json",
        dict[str, Any] | str,
        {"type": "null"},
        "as structured_outputs.json",
        {"form": Form("json_schema", '{"type": "null"}')},
    ),
    BodyParameter("guided_regex", str, "[a-z]+", "as structured_outputs.regex", {"form": Form("regex", "[a-z]+")}),
    BodyParameter("guided_choice", _Strings, ["a"], "as structured_outputs.choice", {"form": Form("choice", '["a"]')}),
    BodyParameter(
        "guided_grammar",
        str,
        'root ::= "a"',
        "as structured_outputs.grammar",
        {"form": Form("grammar", 'root ::= "a"')},
    ),
    _chat(
        "chat_template_kwargs",
        dict[str, Any],
        {"enable_thinking": False},
        "options of the checkpoint's chat template",
        {"template_options": {"enable_thinking": False}},
    ),
    _chat(
        "enable_thinking",
        bool,
        False,
        "as in chat_template_kwargs; Qwen's own API has it here",
        {"template_options": {"enable_thinking": False}},
    ),
    _chat(
        "reasoning_effort",
        Effort,
        "none",
        "none: no thinking; others: thinking, where the chat template has the choice; "
        "a template that reads the word gets it; enable_thinking goes before it",
        {"template_options": {"reasoning_effort": "none"}},
    ),
    _chat(
        "add_generation_prompt",
        bool,
        False,
        "false: the prompt ends with the last message and does not begin an answer",
        {"template_options": {"add_generation_prompt": False}},
    ),
    _chat(
        "continue_final_message",
        bool,
        True,
        "true: the answer continues the last message; not with add_generation_prompt: true",
        {"template_options": {"continue_final_message": True}},
    ),
    _hint("user", str, "u-1", "goes to the access log"),
    _hint("metadata", _object_of(str), {"a": "b"}, "goes to the access log"),
    _hint("client_metadata", dict[str, Any], {"a": "b"}, "facts of the client"),
    _hint("safety_identifier", str, "u-1", "OpenAI's name of the caller's user"),
    _hint("prompt_cache_key", str, "k-1", "the cache of prompts finds equal beginnings by itself"),
    _hint("prompt_cache_retention", str, "24h", "the engine's cache of prompts has its own order"),
    _hint("prompt_cache_options", dict[str, Any], {"mode": "explicit"}, "as prompt_cache_retention"),
    _hint("store", bool, True, "nothing is stored, whatever it says"),
    _hint("service_tier", str, "flex", "there is one tier"),
    _hint("verbosity", Literal["low", "medium", "high"], "low", "for models trained to follow it; Qwen is not", CHAT),
    _hint(
        "prediction", dict[str, Any], {"type": "content", "content": "a"}, "for speed alone; no engine uses it", CHAT
    ),
    _hint("guided_decoding_backend", str, "xgrammar", "there is one way to keep a form"),
    _hint("add_special_tokens", bool, True, "Qwen's tokenizers add none"),
    _hint("spaces_between_special_tokens", bool, False, "Qwen's tokenizers put none"),
    _neutral("priority", int, 1, "requests are served in the order they arrive", 0),
    _neutral("suffix", str, "end", "these models do not fill in between two texts", ""),
    _neutral("echo", bool, True, "the prompt of a chat is not sent back", False, only=CHAT),
    _neutral("best_of", int, 2, "only /v1/completions has it", 1, only=CHAT),
    _neutral("skip_special_tokens", bool, False, "is a setting of the deployment", True),
    _neutral("length_penalty", float, 0.5, "no beams are searched here", 1.0),
    _neutral("use_beam_search", bool, True, "no beams are searched here", False),
    _neutral("bad_words", _Strings, ["a"], "only Triton's own API has it; use logit_bias", []),
    _neutral("prompt_logprobs", int, 1, "no engine gives log probs of a prompt", 0),
    _neutral("allowed_token_ids", TokenIds, [1], "no engine restricts tokens to a list; use logit_bias", []),
    _neutral("return_token_ids", bool, True, "tokens are not sent; use logprobs", False),
    _neutral("return_tokens_as_token_ids", bool, True, "tokens are sent as text", False),
    _neutral(
        "include_reasoning", bool, False, "thinking is always sent; turn it off by enable_thinking", True, only=CHAT
    ),
    _neutral("functions", Objects, [{"name": "f"}], "is OpenAI's old form; use tools", [], only=CHAT),
    _neutral(
        "function_call",
        str | dict[str, Any],
        {"name": "f"},
        "is OpenAI's old form; use tool_choice",
        *("none", "auto"),
        only=CHAT,
    ),
    _neutral("modalities", _Strings, ["audio"], "these models read and write text", ["text"], only=CHAT),
    _neutral("audio", dict[str, Any], {"voice": "a"}, "these models read and write text", only=CHAT),
    _neutral("moderation", dict[str, Any], {"model": "m"}, "there is no model that moderates", only=CHAT),
    _neutral("web_search_options", dict[str, Any], {}, "the models have no access to the web", only=CHAT),
)


def parameters_of(endpoint: str) -> tuple[BodyParameter, ...]:
    """The rows of an endpoint, CHAT or COMPLETIONS, of every class."""
    return tuple(p for p in PARAMETERS if endpoint in p.endpoints)


def parameter_table() -> str:
    """The table as Markdown, one line a row, in its order (docs/openai.md has it)."""
    head = ["| parameter | chat | completions | what is done with it |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_markdown_row, PARAMETERS)]) + "\n"


_MARKS: dict[Handling, str] = {"honoured": "✓", "hint": "hint", "neutral": "–"}


def _markdown_row(parameter: BodyParameter) -> str:
    text = f"refused: {parameter.text}" if parameter.handling == "neutral" else parameter.text
    if parameter.neutral:
        text += f" ({', '.join(f'`{json.dumps(value)}`' for value in parameter.neutral)} taken)"
    chat, completions = (_MARKS[parameter.handling] if e in parameter.endpoints else "" for e in BOTH)
    return f"| `{parameter.name}` | {chat} | {completions} | {text} |"
