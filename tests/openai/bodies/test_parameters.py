"""Every row of the shim's table of parameters: honoured, a hint, or neutral; the rest is refused by name."""

from __future__ import annotations

import json
from functools import reduce
from inspect import signature
from typing import Any

import pytest
from openai.resources.chat.completions import Completions as ChatCompletions
from openai.resources.completions import Completions
from openai.resources.responses import Responses
from openai.types.chat import ChatCompletionStreamOptionsParam

from qwen_triton.types import GenerateRequest
from qwen_triton_openai.bodies.body import check_parameters
from qwen_triton_openai.bodies.body_parameter import CHAT, COMPLETIONS, RESPONSES, BodyParameter
from qwen_triton_openai.bodies.chat_plan import plan_chat
from qwen_triton_openai.bodies.plan import STREAM_OPTIONS
from qwen_triton_openai.bodies.responses.plan import plan_response
from qwen_triton_openai.bodies.tables import parameters_of
from qwen_triton_openai.endpoints.completions import plan_completion
from qwen_triton_openai.errors import ApiError
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeTriton, chat_body, completion_body, shim_client

OPENAI = (CHAT, COMPLETIONS, RESPONSES)
"""Anthropic's have tests of their own, in messages/test_messages_parameters.py."""
ROWS = [(endpoint, p) for endpoint in OPENAI for p in parameters_of(endpoint)]
PATHS = {CHAT: "/v1/chat/completions", COMPLETIONS: "/v1/completions", RESPONSES: "/v1/responses"}
NEEDS: dict[str, dict[str, Any]] = {
    "top_logprobs": {"logprobs": True},
    "stream_options": {"stream": True},
    "tool_choice": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "parallel_tool_calls": {"tools": [{"type": "function", "function": {"name": "f"}}]},
}
"""Parameters that mean nothing without another."""
EFFECTS: dict[str, dict[str, Any]] = {
    "top_logprobs": {"sampling.logprobs": 3},
    "tool_choice": {"tools": ()},
    "parallel_tool_calls": {"parallel_tool_calls": False},
}
"""What a row that needs another one changes in the request."""
NOT_IN_THE_REQUEST = {"model", "stream_options", "response_format", "include"}
"""Honoured by the shim itself (see test_chat and test_responses)."""
TRANSPORT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
"""Arguments of the openai package's methods that are not sent in the body."""


def named(rows: list[tuple[str, BodyParameter]]) -> list[Any]:
    return [pytest.param(endpoint, p, id=f"{endpoint}-{p.name}") for endpoint, p in rows]


def body(endpoint: str, **more: Any) -> dict[str, Any]:
    if endpoint == RESPONSES:
        flat = [{"type": tool["type"], **tool["function"]} for tool in more.get("tools", ())]
        return {"model": "qwen", "input": "你好"} | more | ({"tools": flat} if flat else {})
    return chat_body(**more) if endpoint == CHAT else completion_body(**more)


def planned(endpoint: str, given: dict[str, Any]) -> GenerateRequest:
    checked = check_parameters(given, endpoint)
    if endpoint == CHAT:
        return plan_chat(checked, ShimSettings())[0]
    if endpoint == RESPONSES:
        return plan_response(checked, ShimSettings())[0]
    return plan_completion(checked, ShimSettings())[0]


def at(request: GenerateRequest, path: str) -> Any:
    return reduce(getattr, path.split("."), request)


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].handling == "honoured"]))
def test_a_parameter_reaches_the_request(endpoint: str, row: BodyParameter) -> None:
    """Its example changes the fields that the row names, to the values it names, and without it they differ."""
    needed = NEEDS.get(row.name, {})
    request = planned(endpoint, body(endpoint, **needed) | {row.name: row.example})
    expected = (row.sets or {}) | EFFECTS.get(row.name, {})
    assert expected or row.name in NOT_IN_THE_REQUEST, "a row that changes nothing is dropped silently"
    assert {path: at(request, path) for path in expected} == expected
    if not row.required:
        without = planned(endpoint, body(endpoint, **needed))
        assert all(at(without, path) != value for path, value in expected.items())


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].handling == "hint"]))
def test_a_hint_is_taken(endpoint: str, row: BodyParameter) -> None:
    """It is answered as if it had not been sent."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        for more in ({}, {row.name: row.example}):
            reply = client.post(PATHS[endpoint], json=body(endpoint) | more)
            assert (reply.status_code, reply.headers.get("x-ignored-parameters")) == (200, None)
    assert triton.sent[0] == triton.sent[1]


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].handling == "neutral"]))
def test_a_refused_parameter_is_named(endpoint: str, row: BodyParameter) -> None:
    """400 with the name and the reason; values that ask for nothing are taken, and so is null."""
    with shim_client() as client:
        reply = client.post(PATHS[endpoint], json=body(endpoint) | {row.name: row.example})
        assert reply.status_code == 400
        assert reply.json()["error"] == {
            "message": f"{row.name}: {row.text}; leave it out",
            "type": "invalid_request_error",
            "param": row.name,
            "code": "unsupported_parameter",
        }
        for value in (*row.neutral, None):
            assert client.post(PATHS[endpoint], json=body(endpoint) | {row.name: value}).status_code == 200
            assert planned(endpoint, body(endpoint) | {row.name: value}) == planned(endpoint, body(endpoint))


@pytest.mark.parametrize(
    ("endpoint", "create"),
    [(CHAT, ChatCompletions.create), (COMPLETIONS, Completions.create), (RESPONSES, Responses.create)],
)
def test_every_parameter_of_openai_s_package_has_a_class(endpoint: str, create: Any) -> None:
    """A new version of the package may have a new one: give it a row in its table (see bodies/tables.py)."""
    known = {p.name for p in parameters_of(endpoint)}
    assert set(signature(create).parameters) - TRANSPORT - known == set()


def test_every_stream_option_of_openai_s_package_is_known() -> None:
    """And so are vLLM's."""
    assert set(ChatCompletionStreamOptionsParam.__annotations__) | {"continuous_usage_stats"} == set(STREAM_OPTIONS)


def test_a_row_has_one_class_at_an_endpoint() -> None:
    """No name is there twice."""
    assert len({(endpoint, p.name) for endpoint, p in ROWS}) == len(ROWS)


REST = {"temprature": 0.5, "guided_xml": {}, "skip_special_tokens": False, "web_search_options": {}}


def test_what_is_left_is_ignored_where_the_operator_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole and streamed: answered, and named in a header and in the access log; hints and neutral values are not."""
    triton = FakeTriton()
    taken = {"store": True, "best_of": 1, "nothing": None, "temperature": 0.5}
    with shim_client(triton, unknown_parameters="ignore") as client:
        for stream in (False, True):
            reply = client.post(PATHS[CHAT], json=chat_body(stream=stream) | REST | taken)
            assert (reply.status_code, reply.headers["x-ignored-parameters"]) == (200, ", ".join(REST))
        plain = client.post(PATHS[CHAT], json=chat_body() | taken)
        assert "x-ignored-parameters" not in plain.headers
    assert [r.sampling.temperature for r in triton.sent] == [0.5] * 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("ignored_parameters") for line in lines] == [list(REST), list(REST), None]


def test_a_value_of_a_known_parameter_is_not_ignored() -> None:
    """Only names that are not heeded at all are."""
    with shim_client(unknown_parameters="ignore") as client:
        replies = [client.post(PATHS[CHAT], json=chat_body(**given)) for given in ({"top_p": 7}, {"seed": "x"})]
        assert [(r.status_code, r.json()["error"]["param"]) for r in replies] == [(400, "top_p"), (400, "seed")]


def test_ignored_names_cannot_break_the_header() -> None:
    """They are the client's own words."""
    with shim_client(unknown_parameters="ignore") as client:
        reply = client.post(PATHS[CHAT], json=chat_body() | {"a\r\nX-Evil: 1, 你": 1, "b" * 5000: 2})
    assert reply.status_code == 200
    assert "x-evil" not in reply.headers
    assert reply.headers["x-ignored-parameters"].startswith("a%0D%0AX-Evil%3A%201%2C%20%E4%BD%A0, bbb")
    assert len(reply.headers["x-ignored-parameters"]) < 1100


@pytest.mark.parametrize("endpoint", OPENAI)
def test_an_unknown_null_asks_for_nothing(endpoint: str) -> None:
    """Clients send null for what they leave out, also for what we do not know."""
    assert planned(endpoint, body(endpoint, guided_json=None)) == planned(endpoint, body(endpoint))


def test_effort_and_thinking_are_template_options() -> None:
    """At the top level as in OpenAI's and in Qwen's API; two values of one are refused."""
    assert planned(CHAT, chat_body(reasoning_effort="high")).template_options == {"reasoning_effort": "high"}
    both = chat_body(enable_thinking=True, chat_template_kwargs={"enable_thinking": True})
    assert planned(CHAT, both).template_options == {"enable_thinking": True}
    with pytest.raises(ApiError, match=r"^enable_thinking: chat_template_kwargs has another value of it"):
        planned(CHAT, chat_body(enable_thinking=False, chat_template_kwargs={"enable_thinking": True}))


def test_stream_options_that_ask_for_nothing_need_no_stream() -> None:
    """Some clients always send them."""
    plain = planned(CHAT, chat_body())
    for options in ({}, {"include_usage": False, "include_obfuscation": False}, {"include_usage": None}):
        assert planned(CHAT, chat_body(stream_options=options)) == plain


def test_an_error_of_logit_bias_names_the_key() -> None:
    """Among hundreds."""
    with pytest.raises(ApiError, match=r"^logit_bias: its keys must be token ids, got 'word'$"):
        planned(CHAT, chat_body(logit_bias={"198": 1, "word": 1}))
    with pytest.raises(ApiError, match=r"^logit_bias\.198: input should be a valid number$") as caught:
        planned(CHAT, chat_body(logit_bias={"7": 1, "198": "x"}))
    assert caught.value.param == "logit_bias.198"


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if not r[1].required]))
def test_null_is_not_given(endpoint: str, row: BodyParameter) -> None:
    """Clients send null for what they leave out."""
    assert planned(endpoint, body(endpoint) | {row.name: None}) == planned(endpoint, body(endpoint))


@pytest.mark.parametrize(("endpoint", "row"), named(ROWS))
def test_a_wrong_type_is_named(endpoint: str, row: BodyParameter) -> None:
    """A value of no parameter's type is refused with the parameter's name."""
    with pytest.raises(ApiError) as caught:
        check_parameters(body(endpoint) | {row.name: [[{"no": "type"}]]}, endpoint)
    assert (caught.value.status, str(caught.value.param).split("[")[0]) == (400, row.name)


def test_one_call_at_most_without_tools_asks_for_nothing() -> None:
    """Agents send it with every request."""
    assert planned(CHAT, chat_body(parallel_tool_calls=False)) == planned(CHAT, chat_body())


@pytest.mark.parametrize("endpoint", OPENAI)
def test_an_unknown_parameter_is_named(endpoint: str) -> None:
    """With the one that was meant, if there is one like it."""
    with shim_client() as client:
        reply = client.post(PATHS[endpoint], json=body(endpoint, temprature=0.5))
    assert reply.status_code == 400
    assert reply.json()["error"] == {
        "message": "Unknown parameter: 'temprature'; did you mean temperature?",
        "type": "invalid_request_error",
        "param": "temprature",
        "code": "unknown_parameter",
    }


@pytest.mark.parametrize(
    ("endpoint", "given", "param"),
    [
        (CHAT, {"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 0}, "max_completion_tokens"),
        (CHAT, {"top_logprobs": 3}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"stream_options": {"include_usage": True}}, "stream_options"),
        (CHAT, {"stream": True, "stream_options": {"obfuscate": True}}, "stream_options.obfuscate"),
        (CHAT, {"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"top_logprobs": 0}, "top_logprobs"),
        (CHAT, {"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"temperature": 2.1}, "temperature"),
        (COMPLETIONS, {"temperature": 2.1}, "temperature"),
        (CHAT, {"logit_bias": {"-1": 1}}, "logit_bias"),
        (CHAT, {"reasoning_effort": "huge"}, "reasoning_effort"),
        (CHAT, {"continue_final_message": True, "chat_template_kwargs": {"continue_final_message": False}},
         "continue_final_message"),
        (CHAT, {"response_format": {"type": "xml"}}, "response_format.type"),
        (CHAT, {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (CHAT, {"n": 0}, "n"),
        (CHAT, {"n": 129}, "n"),
        (CHAT, {"temperature": -0.1}, "temperature"),
        (CHAT, {"top_p": 1.5}, "top_p"),
        (CHAT, {"top_k": -2}, "top_k"),
        (CHAT, {"seed": -1}, "seed"),
        (CHAT, {"stop": ""}, "stop"),
        (CHAT, {"presence_penalty": 2.5}, "presence_penalty"),
        (CHAT, {"repetition_penalty": 0}, "repetition_penalty"),
        (CHAT, {"logit_bias": {"word": 1}}, "logit_bias"),
        (CHAT, {"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        (CHAT, {"messages": []}, "messages"),
        (COMPLETIONS, {"prompt": ""}, "prompt"),
        (COMPLETIONS, {"prompt": []}, "prompt"),
        (COMPLETIONS, {"prompt": ["a", ""]}, "prompt[1]"),
        (COMPLETIONS, {"prompt": ["a"] * 129}, "prompt"),
        (COMPLETIONS, {"prompt": [[1], []]}, "prompt[1]"),
        (COMPLETIONS, {"logprobs": 21}, "logprobs"),
        (COMPLETIONS, {"prompt_logprobs": 21}, "prompt_logprobs"),
        (COMPLETIONS, {"prompt_logprobs": -1}, "prompt_logprobs"),
        (COMPLETIONS, {"echo": True, "logprobs": 1, "n": 2, "stream": True}, "echo"),
        (COMPLETIONS, {"prompt_logprobs": 1, "n": 2, "stream": True}, "prompt_logprobs"),
        (COMPLETIONS, {"prompt_logprobs": 9, "prompt": [[1] * 8_000] * 2}, "prompt_logprobs"),
        (COMPLETIONS, {"echo": True, "logprobs": 9, "prompt": ["a" * 8_000] * 2}, "echo"),
        (COMPLETIONS, {"best_of": 3, "stream": True}, "best_of"),
        (COMPLETIONS, {"best_of": 1, "n": 2}, "best_of"),
        (COMPLETIONS, {"best_of": 129}, "best_of"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_honoured_is_named(endpoint: str, given: dict[str, Any], param: str) -> None:
    """Out of range, against another parameter, or beyond what any engine does: 400, and nothing reaches Triton."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        reply = client.post(PATHS[endpoint], json=body(endpoint) | given)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert triton.sent == []


def test_two_names_of_one_length_may_agree() -> None:
    """Some clients send both."""
    assert planned(CHAT, chat_body(max_tokens=3, max_completion_tokens=3)).sampling.max_tokens == 3


def test_what_is_left_out_is_openai_s() -> None:
    """Sampling at temperature 1 from all tokens, to the end of the context, one answer, whole."""
    request = planned(CHAT, chat_body())
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.n) == (1.0, 1.0, None, 1)
    assert (sampling.seed, sampling.logprobs, request.stream, request.tools) == (None, None, False, ())
    assert request.clamp_max_tokens, "max_tokens is an upper bound, the context another one"


@pytest.mark.parametrize("top_k", [0, -1])
def test_all_tokens_have_two_spellings(top_k: int) -> None:
    """0 as in transformers, -1 as in vLLM."""
    assert planned(CHAT, chat_body(top_k=top_k)).sampling.top_k is None
