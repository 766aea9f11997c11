"""Every row of the Messages API's table: honoured, a hint, or refused by name."""

from __future__ import annotations

from functools import reduce
from inspect import signature
from typing import Any

import pytest
from anthropic.resources.beta.messages import Messages as BetaMessages
from anthropic.resources.messages import Messages

from qwen_triton.types import GenerateRequest
from qwen_triton_openai.bodies.body import check_parameters
from qwen_triton_openai.bodies.body_parameter import COUNT_TOKENS, MESSAGES, BodyParameter
from qwen_triton_openai.bodies.messages.messages_parameters import MESSAGES_PARAMETERS
from qwen_triton_openai.bodies.messages.plan import plan_message
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeTriton, message_body, shim_client

PATHS = {MESSAGES: "/v1/messages", COUNT_TOKENS: "/v1/messages/count_tokens"}
ROWS = [(endpoint, p) for p in MESSAGES_PARAMETERS for endpoint in p.endpoints]
TOOL = {"name": "f", "input_schema": {"type": "object"}}
NEEDS: dict[str, dict[str, Any]] = {
    "tool_choice": {"tools": [TOOL]},
    "output_config": {"thinking": {"type": "adaptive"}},
}
"""Parameters that mean nothing without another."""
EFFECTS: dict[str, dict[str, Any]] = {
    "tool_choice": {"tools": ()},
    "output_config": {"template_options": {"reasoning_effort": "low"}},
}
"""What a row that needs another one changes in the request."""
NOT_IN_THE_REQUEST = {"model", "context_management"}
"""Honoured by the shim itself; the edit that is taken is what templates do anyway."""
TRANSPORT = {"self", "extra_headers", "extra_query", "extra_body", "timeout", "betas"}
"""Arguments of the package's methods that are not sent in the body."""
REFUSED_AS_UNKNOWN = {
    "billing_policy", "compaction", "fallback_credit_token", "fallbacks", "output_format", "thread",
}  # fmt: skip
"""Of the package's beta methods, sent on a caller's word alone; refused by name, as every unknown one."""


def named(rows: list[tuple[str, BodyParameter]]) -> list[Any]:
    return [pytest.param(endpoint, p, id=f"{endpoint}-{p.name}") for endpoint, p in rows]


def body(endpoint: str, **more: Any) -> dict[str, Any]:
    found = message_body(**more)
    return found if endpoint == MESSAGES else {k: v for k, v in found.items() if k != "max_tokens"}


def planned(endpoint: str, given: dict[str, Any]) -> GenerateRequest:
    return plan_message(check_parameters(given, endpoint), ShimSettings()).request


def at(request: GenerateRequest, path: str) -> Any:
    return reduce(getattr, path.split("."), request)


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].handling == "honoured"]))
def test_a_parameter_reaches_the_request(endpoint: str, row: BodyParameter) -> None:
    """Its example changes the fields that the row names, to the values it names, and without it they differ."""
    needed = NEEDS.get(row.name, {})
    request = planned(endpoint, body(endpoint, **needed) | {row.name: row.example})
    expected = (row.sets or {}) | EFFECTS.get(row.name, {})
    if row.name == "system":
        expected = {"messages": ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})}
    assert expected or row.name in NOT_IN_THE_REQUEST, "a row that changes nothing is dropped silently"
    assert {path: at(request, path) for path in expected} == expected
    if not row.required:
        without = planned(endpoint, body(endpoint, **needed))
        assert all(at(without, path) != value for path, value in expected.items())


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].handling == "hint"]))
def test_a_hint_changes_nothing(endpoint: str, row: BodyParameter) -> None:
    assert planned(endpoint, body(endpoint) | {row.name: row.example}) == planned(endpoint, body(endpoint))


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if r[1].handling == "neutral"]))
def test_a_refused_parameter_is_named(endpoint: str, row: BodyParameter) -> None:
    """400 with the name and the reason, in this API's shape; what asks for nothing is taken, and so is null."""
    with shim_client() as client:
        reply = client.post(PATHS[endpoint], json=body(endpoint) | {row.name: row.example})
    assert reply.status_code == 400
    assert reply.json() == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": f"{row.name}: {row.text}; leave it out"},
        "request_id": reply.headers["request-id"],
    }
    for value in (*row.neutral, None):
        assert planned(endpoint, body(endpoint) | {row.name: value}) == planned(endpoint, body(endpoint))


@pytest.mark.parametrize(("endpoint", "row"), named([r for r in ROWS if not r[1].required]))
def test_null_is_not_given(endpoint: str, row: BodyParameter) -> None:
    assert planned(endpoint, body(endpoint) | {row.name: None}) == planned(endpoint, body(endpoint))


@pytest.mark.parametrize(
    ("endpoint", "method"),
    [(MESSAGES, Messages.create), (MESSAGES, BetaMessages.create), (COUNT_TOKENS, Messages.count_tokens)],
)
def test_every_parameter_of_anthropic_s_package_has_a_class(endpoint: str, method: Any) -> None:
    """A new version of the package may have a new one: give it a row in bodies/messages/messages_parameters.py."""
    known = {p.name for p in MESSAGES_PARAMETERS if endpoint in p.endpoints}
    assert set(signature(method).parameters) - TRANSPORT - REFUSED_AS_UNKNOWN - known == set()


def test_a_row_has_one_class_at_an_endpoint() -> None:
    assert len({(endpoint, p.name) for endpoint, p in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_tokens": None}, "Missing required parameter: 'max_tokens'"),
        ({"max_tokens": 0}, "max_tokens: input should be greater than or equal to 1"),
        ({"temperature": 2.5}, "temperature: must be in [0, 2], got 2.5"),
        ({"top_p": 1.5}, "top_p: must be in [0, 1], got 1.5"),
        ({"stop_sequences": [""]}, "stop_sequences: an empty stop string would match everywhere; leave it out"),
        ({"stop_sequences": "x"}, "stop_sequences: input should be a valid list"),
        ({"messages": []}, "messages: list should have at least 1 item after validation, not 0"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: only with tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
         "tool_choice: names a function that is not in tools"),
        ({"thinking": {"type": "always"}}, "thinking.type: must be one of enabled, adaptive, disabled, got 'always'"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}},
         "thinking.budget_tokens: must be a number of tokens, got 'x'"),
        ({"thinking": {"type": "enabled", "display": "x"}}, "thinking.display: must be summarized or omitted, got 'x'"),
        ({"thinking": {"type": "enabled", "wat": 1}}, "thinking.wat: unknown; leave it out"),
        ({"output_config": {"effort": "huge"}},
         "output_config.effort: must be one of low, medium, high, xhigh, max, got 'huge'"),
        ({"output_config": {"wat": 1}}, "output_config.wat: unknown; leave it out"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
         "context_management.edits[0]: 'clear_tool_uses_20250919' is not done here; send the messages as they are to be"),
        ({"temprature": 1}, "Unknown parameter: 'temprature'; did you mean temperature?"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id: input should be a valid string"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_honoured_is_named(given: dict[str, Any], message: str) -> None:
    """400 in this API's shape, and nothing reaches Triton."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        reply = client.post(PATHS[MESSAGES], json=message_body() | given)
    assert reply.status_code == 400
    assert reply.json()["error"] == {"type": "invalid_request_error", "message": message}
    assert triton.sent == []


def test_a_format_that_is_malformed_is_named() -> None:
    """In this API's words."""
    given = message_body(output_config={"format": {"type": "json_schema", "schema": 5}})
    with shim_client() as client:
        reply = client.post(PATHS[MESSAGES], json=given)
    assert (reply.status_code, reply.json()["error"]["message"].split(".json")[0]) == (400, "output_config.format")


@pytest.mark.parametrize(
    ("thinking", "options"),
    [
        (None, {"enable_thinking": False}),
        ({"type": "disabled"}, {"enable_thinking": False}),
        ({"type": "adaptive"}, {"reasoning_effort": "high"}),
        ({"type": "enabled", "budget_tokens": 2048, "display": None}, {"reasoning_effort": "high"}),
    ],
)
def test_thinking_is_the_template_s(thinking: Any, options: dict[str, Any]) -> None:
    """As in this API there is none unless it is asked for; on by an effort, which a template without the choice ignores."""
    assert planned(MESSAGES, message_body(thinking=thinking)).template_options == options


def test_an_answer_that_was_begun_is_continued() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "The"}]
    found = planned(MESSAGES, message_body(messages=messages))
    assert found.template_options == {"enable_thinking": False, "continue_final_message": True}


def test_what_is_left_out_is_the_deployment_s() -> None:
    """Sampling, and a whole answer; only a stream counts its prompt with its first piece."""
    request = planned(MESSAGES, message_body())
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (1.0, 1.0, None, 16)
    assert (request.stream, request.count_first, request.clamp_max_tokens) == (False, False, True)
    assert planned(MESSAGES, message_body(stream=True)).count_first
    settings = ShimSettings(temperature=0.2, top_p=0.9)
    sampling = plan_message(check_parameters(message_body(), MESSAGES), settings).request.sampling
    assert (sampling.temperature, sampling.top_p) == (0.2, 0.9)
