"""Every row of the shim's table of parameters: honoured as it says, or refused by name. None is dropped silently."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from qwen_triton.types import GenerateRequest
from qwen_triton_openai.endpoints.body import check_parameters
from qwen_triton_openai.endpoints.chat import plan_chat
from qwen_triton_openai.endpoints.completions import plan_completion
from qwen_triton_openai.endpoints.parameters import CHAT, COMPLETIONS, PARAMETERS, BodyParameter
from qwen_triton_openai.errors import ApiError
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeTriton, chat_body, completion_body, shim_client

ROWS = [(endpoint, p) for p in PARAMETERS for endpoint in p.endpoints]
PATHS = {CHAT: "/v1/chat/completions", COMPLETIONS: "/v1/completions"}
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
NOT_IN_THE_REQUEST = {"model", "stream_options", "response_format", "user", "metadata"}
"""Honoured by the shim itself (see test_shim_chat), or without a bearing on the answer."""


def named(rows: list[tuple[str, BodyParameter]]) -> list[Any]:
    return [pytest.param(endpoint, p, id=f"{endpoint}-{p.name}") for endpoint, p in rows]


def body(endpoint: str, **more: Any) -> dict[str, Any]:
    return chat_body(**more) if endpoint == CHAT else completion_body(**more)


def planned(endpoint: str, given: dict[str, Any]) -> GenerateRequest:
    checked = check_parameters(given, endpoint)
    if endpoint == CHAT:
        return plan_chat(checked, ShimSettings())[0]
    return plan_completion(checked, ShimSettings())[0]


def at(request: GenerateRequest, path: str) -> Any:
    return reduce(getattr, path.split("."), request)


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if not r[1].refused]))
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


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].refused]))
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


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
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
        (CHAT, {"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"parallel_tool_calls": False}, "parallel_tool_calls"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "response_format"),
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
        (COMPLETIONS, {"echo": True, "logprobs": 1}, "echo"),
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
    assert triton.asked == []


def test_two_names_of_one_length_may_agree() -> None:
    """Some clients send both."""
    assert planned(CHAT, chat_body(max_tokens=3, max_completion_tokens=3)).sampling.max_tokens == 3


def test_what_is_left_out_is_openai_s() -> None:
    """Sampling at temperature 1 from all tokens, to the end of the context, one answer, whole."""
    request = planned(CHAT, chat_body())
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.n) == (1.0, 1.0, None, 1)
    assert (sampling.seed, sampling.logprobs, request.stream, request.tools) == (None, None, False, ())


@pytest.mark.parametrize("top_k", [0, -1])
def test_all_tokens_have_two_spellings(top_k: int) -> None:
    """0 as in transformers, -1 as in vLLM."""
    assert planned(CHAT, chat_body(top_k=top_k)).sampling.top_k is None
