"""Parameters of /v1/chat/completions and /v1/completions: one table, of which bodies, documents and tests are made.

A row says what the shim does with a parameter and which fields of the GenerateRequest it sets, or why it is refused. The
sampling parameters are rows of the core's table (types.SAMPLING). `null` is «not given» for each; a parameter in no row is
refused by name. Knows no HTTP and no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from qwen_triton.types import SAMPLING, SamplingParameter

CHAT, COMPLETIONS = "chat", "completions"

_Texts = str | list[str]
_TokenIds = list[Annotated[int, Field(ge=0, lt=2**31)]]
_Objects = list[dict[str, Any]]
_Tops = Annotated[int, Field(ge=0, le=20)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
_MESSAGES = [{"role": "user", "content": "你好"}]


@dataclass(frozen=True)
class BodyParameter:
    """One parameter. `kind`: its type; `example`: a value that is taken (of a refused one: a value that is refused).

    `sets`: the fields of GenerateRequest that the example changes, with the values they get. `neutral`: the values of
    a refused parameter that ask for nothing and are taken.
    """

    name: str
    kind: Any
    example: Any
    text: str
    sets: dict[str, Any] | None = None
    endpoints: tuple[str, ...] = (CHAT, COMPLETIONS)
    required: bool = False
    refused: bool = False
    neutral: tuple[Any, ...] = ()


def _chat(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (CHAT,), **more)


def _completions(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (COMPLETIONS,), **more)


def _refused(name: str, kind: Any, example: Any, why: str, *neutral: Any, only: str | None = None) -> BodyParameter:
    endpoints = (only,) if only else (CHAT, COMPLETIONS)
    return BodyParameter(name, kind, example, why, None, endpoints, refused=True, neutral=neutral)


SAMPLED = tuple(p for p in SAMPLING if p.openai and p.name != "logprobs")
"""The sampling parameters that mean the same in OpenAI's body; `logprobs` has a form of its own at each endpoint."""
_ENDPOINTS = {"best_of": (COMPLETIONS,)}
_LOWEST = {"top_k": -1}
"""Lower bounds where clients of OpenAI's API send more than the core takes."""
_REMARKS = {
    "temperature": "the deployment's (1) without it",
    "top_p": "the deployment's (1) without it",
    "top_k": "-1 is another way to say 0",
    "best_of": "not with stream",
}


def _sampling(row: SamplingParameter) -> BodyParameter:
    """A row of the core's table; pydantic checks its type, SamplingParams its range, which the OpenAPI document has too."""
    low = _LOWEST.get(row.name, row.low)
    bounds: dict[str, Any] = {"exclusiveMinimum" if row.above_low else "minimum": low, "maximum": row.high}
    example = row.kind(2) if row.kind is int else 0.5
    text = f"{row.help} ({row.range_text})"
    return BodyParameter(
        row.openai,
        Annotated[row.kind, Field(json_schema_extra=bounds)],
        example,
        f"{text}; {_REMARKS[row.name]}" if row.name in _REMARKS else text,
        {f"sampling.{row.name}": example},
        _ENDPOINTS.get(row.name, (CHAT, COMPLETIONS)),
    )


PARAMETERS = (
    BodyParameter("model", str, "qwen", "one of the names in /v1/models", required=True),
    _chat(
        "messages",
        Annotated[_Objects, Field(min_length=1)],
        _MESSAGES,
        "roles system, developer (as system), user, assistant, tool; content a text or text parts; an assistant's "
        "tool_calls and reasoning_content may be sent back",
        {"messages": tuple(_MESSAGES)},
        required=True,
    ),
    _completions(
        "prompt",
        _Texts | _TokenIds | list[_TokenIds],
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
    BodyParameter("stop_token_ids", _TokenIds, [198], "token ids that end the answer", {"stop.token_ids": (198,)}),
    BodyParameter(
        "include_stop_str_in_output", bool, True, "leaves the stop string in the text", {"stop.include_in_output": True}
    ),
    BodyParameter("ignore_eos", bool, True, "goes on to max_tokens or a stop", {"stop.ignore_eos": True}),
    BodyParameter(
        "logit_bias",
        dict[str, float],
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
    _refused("suffix", str, "end", "these models do not fill in between two texts", only=COMPLETIONS),
    BodyParameter("stream", bool, True, "answers as server-sent events", {"stream": True}),
    BodyParameter(
        "stream_options",
        dict[str, bool],
        {"include_usage": True},
        "include_usage: a last chunk with the usage; continuous_usage_stats: the usage so far with each; needs stream",
    ),
    _chat("tools", _Objects, [_TOOL], "functions that the model may call", {"tools": (_TOOL,)}),
    _chat(
        "tool_choice",
        str | dict[str, Any],
        "none",
        "auto; none (the model does not see the tools); required and a named function: the answer begins as a call",
    ),
    _chat("parallel_tool_calls", bool, False, "false: the answer ends when its first call is closed"),
    _chat(
        "response_format",
        dict[str, Any],
        {"type": "text"},
        "text; json_object and json_schema are refused, no engine constrains what a model says",
    ),
    _chat(
        "chat_template_kwargs",
        dict[str, Any],
        {"enable_thinking": False},
        "options of the checkpoint's chat template",
        {"template_options": {"enable_thinking": False}},
    ),
    BodyParameter("user", str, "u-1", "changes no answer; goes to the access log"),
    BodyParameter("metadata", dict[str, str], {"a": "b"}, "changes no answer; goes to the access log"),
    _refused("priority", int, 1, "requests are served in the order they arrive", 0),
    _refused("store", bool, True, "nothing is stored", False),
    _refused("service_tier", str, "flex", "there is one tier", "auto", "default"),
    _refused("functions", _Objects, [{"name": "f"}], "is OpenAI's old form; use tools", only=CHAT),
    _refused("function_call", str | dict[str, Any], "auto", "is OpenAI's old form; use tool_choice", only=CHAT),
    _refused("modalities", list[str], ["audio"], "these models read and write text", ["text"], only=CHAT),
    _refused("audio", dict[str, Any], {"voice": "a"}, "these models read and write text", only=CHAT),
    _refused("prediction", dict[str, Any], {"type": "content"}, "no engine uses it", only=CHAT),
    _refused("web_search_options", dict[str, Any], {}, "the models have no access to the web", only=CHAT),
    _refused(
        "reasoning_effort",
        str,
        "high",
        'thinking is on or off: use chat_template_kwargs {"enable_thinking": false}',
        only=CHAT,
    ),
)


def parameters_of(endpoint: str) -> tuple[BodyParameter, ...]:
    """The rows of an endpoint, CHAT or COMPLETIONS; those that it refuses are among them."""
    return tuple(p for p in PARAMETERS if endpoint in p.endpoints)


def parameter_table() -> str:
    """The table as Markdown, one line a row, in its order (docs/openai.md has it)."""
    head = ["| parameter | chat | completions | what is done with it |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_markdown_row, PARAMETERS)]) + "\n"


def _markdown_row(parameter: BodyParameter) -> str:
    text = f"refused: {parameter.text}" if parameter.refused else parameter.text
    if parameter.neutral:
        text += f" ({', '.join(f'`{value!r}`' for value in parameter.neutral)} taken)"
    marks = [("✓" if not parameter.refused else "–") if e in parameter.endpoints else "" for e in (CHAT, COMPLETIONS)]
    return f"| `{parameter.name}` | {marks[0]} | {marks[1]} | {text} |"
