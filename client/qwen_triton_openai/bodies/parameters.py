"""Parameters of /v1/chat/completions and /v1/completions. `null` is «not given» for each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from qwen_triton.types import Form

from .body_parameter import BOTH, CHAT, COMPLETIONS, SAMPLED, BodyParameter, hint, neutral, sampled
from .kinds import Objects, Strings, TokenIds, list_of, object_of

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_Texts = str | Strings
_Tops = Annotated[int, Field(ge=0, le=20)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]

_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
_MESSAGES = [{"role": "user", "content": "你好"}]


def _chat(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (CHAT,), **more)


def _completions(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (COMPLETIONS,), **more)


_ENDPOINTS = {"best_of": (COMPLETIONS,)}
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
        _Texts | TokenIds | list_of(TokenIds),
        "你好",
        "a text, token ids, or a list of either; each prompt is answered as choices of its own",
        {"prompt": "你好"},
        required=True,
    ),
    *(sampled(row, *_ENDPOINTS.get(row.name, BOTH)) for row in SAMPLED),
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
        object_of(float),
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
    _completions(
        "echo",
        bool,
        True,
        "puts the prompt before the answer; with logprobs also those of the prompt before those of the answer",
        {"echo": True},
    ),
    _completions(
        "prompt_logprobs",
        int,
        2,
        "as many of the likeliest at each place of the prompt, up to 20, as vLLM has them",
        {"sampling.prompt_logprobs": 2},
    ),
    BodyParameter(
        "return_token_ids",
        bool,
        True,
        "token_ids of each choice, without an end token, and prompt_token_ids, where vLLM has them",
        {"return_token_ids": True},
    ),
    BodyParameter("stream", bool, True, "answers as server-sent events", {"stream": True}),
    BodyParameter(
        "stream_options",
        object_of(bool | None),
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
        "text, json_object, json_schema (kept with and without strict) or structural_tag; see structured-output.md",
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
    BodyParameter("guided_choice", Strings, ["a"], "as structured_outputs.choice", {"form": Form("choice", '["a"]')}),
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
    hint("user", str, "u-1", "goes to the access log"),
    hint("metadata", object_of(str), {"a": "b"}, "goes to the access log"),
    hint("client_metadata", dict[str, Any], {"a": "b"}, "facts of the client"),
    hint("safety_identifier", str, "u-1", "OpenAI's name of the caller's user"),
    hint("prompt_cache_key", str, "k-1", "the cache of prompts finds equal beginnings by itself"),
    hint("prompt_cache_retention", str, "24h", "the engine's cache of prompts has its own order"),
    hint("prompt_cache_options", dict[str, Any], {"mode": "explicit"}, "as prompt_cache_retention"),
    hint("store", bool, True, "nothing is stored, whatever it says"),
    hint("service_tier", str, "flex", "there is one tier"),
    hint("verbosity", Literal["low", "medium", "high"], "low", "for models trained to follow it; Qwen is not", CHAT),
    hint("prediction", dict[str, Any], {"type": "content", "content": "a"}, "for speed alone; no engine uses it", CHAT),
    hint("guided_decoding_backend", str, "xgrammar", "there is one way to keep a form"),
    hint("add_special_tokens", bool, True, "Qwen's tokenizers add none"),
    hint("spaces_between_special_tokens", bool, False, "Qwen's tokenizers put none"),
    neutral("suffix", str, "end", "these models do not fill in between two texts", ""),
    neutral("echo", bool, True, "the prompt of a chat is not sent back", False, only=CHAT),
    neutral("best_of", int, 2, "only /v1/completions has it", 1, only=CHAT),
    neutral("skip_special_tokens", bool, False, "is a setting of the deployment", True),
    neutral("length_penalty", float, 0.5, "no beams are searched here", 1.0),
    neutral("use_beam_search", bool, True, "no beams are searched here", False),
    neutral("bad_words", Strings, ["a"], "only Triton's own API has it; use logit_bias", []),
    neutral("prompt_logprobs", int, 1, "only /v1/completions has it", 0, only=CHAT),
    neutral("allowed_token_ids", TokenIds, [1], "no engine restricts tokens to a list; use logit_bias", []),
    neutral("return_tokens_as_token_ids", bool, True, "tokens are sent as text", False),
    neutral(
        "include_reasoning", bool, False, "thinking is always sent; turn it off by enable_thinking", True, only=CHAT
    ),
    neutral("functions", Objects, [{"name": "f"}], "is OpenAI's old form; use tools", [], only=CHAT),
    neutral(
        "function_call",
        str | dict[str, Any],
        {"name": "f"},
        "is OpenAI's old form; use tool_choice",
        *("none", "auto"),
        only=CHAT,
    ),
    neutral("modalities", Strings, ["audio"], "these models read and write text", ["text"], only=CHAT),
    neutral("audio", dict[str, Any], {"voice": "a"}, "these models read and write text", only=CHAT),
    neutral("moderation", dict[str, Any], {"model": "m"}, "there is no model that moderates", only=CHAT),
    neutral("web_search_options", dict[str, Any], {}, "the models have no access to the web", only=CHAT),
)
