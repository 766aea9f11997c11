"""Bodies as clients of many languages write them: taken as the plain request, honoured, or refused by name."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from qwen_triton_openai.bodies.body import BODIES
from qwen_triton_openai.bodies.body_parameter import CHAT as CHAT_ENDPOINT
from qwen_triton_openai.endpoints.tokenization import DetokenizeRequest, TokenizeRequest
from tests.support.fake_triton import MODEL, FakeTriton, chat_body, completion_body, shim_client

CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
NEUTRAL: dict[str, Any] = {
    "stop": [], "n": None, "logit_bias": {}, "seed": None, "stream_options": None, "tools": [], "functions": [],
    "function_call": "none", "response_format": {"type": "text"}, "temperature": 1, "top_p": 1,
    "max_tokens": None, "max_completion_tokens": None, "logprobs": False, "top_logprobs": None, "stream": False,
    "tool_choice": "auto", "parallel_tool_calls": True, "modalities": ["text"], "user": "", "metadata": {},
}  # fmt: skip
"""What libraries send for what their users left out."""


def sent(path: str, content: bytes, **headers: str) -> tuple[FakeTriton, Any]:
    """The fake that was asked, and the reply."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        return triton, client.post(f"http://testserver{path}", content=content, headers=headers)


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_asks_for_nothing_is_the_plain_request(name: str) -> None:
    """Each alone, and as a text completion where that has it."""
    plain, given = FakeTriton(), FakeTriton()
    for triton, more in ((plain, {}), (given, {name: NEUTRAL[name]})):
        with shim_client(triton) as client:
            assert client.post(CHAT, json=chat_body() | more).status_code == 200
    assert plain.sent == given.sent


def test_all_of_it_at_once_is_the_plain_request() -> None:
    plain, _ = sent(CHAT, json.dumps(chat_body()).encode())
    given, reply = sent(CHAT, json.dumps(chat_body() | NEUTRAL).encode())
    assert (reply.status_code, given.sent) == (200, plain.sent)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "application/json; charset=iso-8859-1"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Accept": "text/event-stream"},
        {"Accept": "text/html, */*;q=0.1"},
        {"Accept-Encoding": "br, gzip, deflate"},
        {"OpenAI-Beta": "assistants=v2", "OpenAI-Organization": "o", "X-Stainless-Lang": "js"},
    ],
)
def test_headers_do_not_change_how_a_body_is_read(headers: dict[str, str]) -> None:
    """curl's form type, .NET's charset, a reader of events: the body is JSON in UTF-8 whatever they say."""
    triton, reply = sent(CHAT, json.dumps(chat_body(), ensure_ascii=False).encode(), **headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert len(triton.sent) == 1


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    """Editors and libraries on Windows write one."""
    triton, reply = sent(CHAT, b"\xef\xbb\xbf" + json.dumps(chat_body()).encode())
    assert (reply.status_code, len(triton.sent)) == (200, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(chat_body()).encode("utf-16"), "byte 0 is not UTF-8; send the body as UTF-8"),
        ('{"model": "é"}'.encode("latin-1"), "byte 11 is not UTF-8; send the body as UTF-8"),
        (gzip.compress(b"{}"), "it looks like gzip; send Content-Encoding: gzip with it"),
        (b"\x28\xb5\x2f\xfd\x04", "it looks like zstd; send Content-Encoding: zstd with it"),
        (b"model=qwen&prompt=a", "unexpected character, expected a JSON value: line 1 column 1 (char 0)"),
        (b"", "Input is a zero-length, empty document: line 1 column 1 (char 0)"),
    ],
)
def test_a_body_that_is_no_json_says_why(content: bytes, message: str) -> None:
    """And what to do where that is known."""
    _, reply = sent(CHAT, content)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_json", None)
    assert error["message"].startswith(f"the body is not JSON: {message}")


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_text_parts_are_taken_for_every_role(role: str) -> None:
    """Some libraries always send parts; they reach the template as they are, which joins them."""
    messages = [{"role": "user", "content": "hi"}, {"role": role, "content": [{"type": "text", "text": "a"}]}]
    triton, reply = sent(CHAT, json.dumps(chat_body(messages=messages)).encode())
    assert reply.status_code == 200
    assert triton.sent[0].messages == tuple(messages)


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ({"functions": [{"name": "f"}]}, "functions", "functions: is OpenAI's old form; use tools; leave it out"),
        ({"function_call": {"name": "f"}}, "function_call",
         "function_call: is OpenAI's old form; use tool_choice; leave it out"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "get_weather"}}, "tool_choice",
         'tool_choice: expected none, auto, required or {"type": "function", "function": {"name": …}}'),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "function": {"name": "get_weather"}}}, "tool_choice",
         'tool_choice: expected none, auto, required or {"type": "function", "function": {"name": …}}'),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice",
         'tool_choice: expected none, auto, required or {"type": "function", "function": {"name": …}}'),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice",
         "tool_choice: names a function that is not in tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
         "tool_choice", 'tool_choice: expected none, auto, required or {"type": "function", "function": {"name": …}}'),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens",
         "max_tokens: is another name of max_completion_tokens; give one of them"),
        ({"max_tokens": "5"}, "max_tokens", "max_tokens: input should be a valid integer"),
        ({"stream": "true"}, "stream", "stream: input should be a valid boolean"),
        ({"stop": [None]}, "stop[0]", "stop[0]: input should be a valid string"),
        ({"stop": 5}, "stop", "stop: input should be a valid string or a valid list"),
        ({"messages": [*chat_body()["messages"], 5, "a"]}, "messages[1]",
         "messages[1]: input should be a valid dictionary"),
        ({"metadata": {"a": "b", "c": 1, "d": []}}, "metadata.c", "metadata.c: input should be a valid string"),
    ],
)  # fmt: skip
def test_other_spellings_are_refused_by_name(given: dict[str, Any], param: str, message: str) -> None:
    """With the form that is taken."""
    triton, reply = sent(CHAT, json.dumps(chat_body() | given).encode())
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["message"]) == (400, param, message)
    assert triton.sent == []


@pytest.mark.parametrize("path", ["//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/"])
def test_surplus_slashes_are_no_part_of_a_path(path: str) -> None:
    """Of a base URL with a slash at its end; answered at once, since few clients send a body again after a redirect."""
    triton, reply = sent(path, json.dumps(chat_body()).encode())
    assert (reply.status_code, len(triton.sent)) == (200, 1)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("/chat/completions", "did you mean /v1/chat/completions?"),
        ("/v1/v1/chat/completions", "did you mean /v1/chat/completions?"),
        ("/openai/deployments/qwen/completions", "did you mean /v1/completions?"),
        ("/models", "did you mean /v1/models?"),
        ("/v1/tokenize", "did you mean /tokenize?"),
        ("/v1/embeddings", "see /docs for the ones there are"),
    ],
)
def test_a_wrong_base_url_is_told_from_an_unknown_path(path: str, remedy: str) -> None:
    _, reply = sent(path, b"{}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_url")
    assert reply.json()["error"]["message"] == f"Unknown request URL: POST {path}; {remedy}"


def test_a_completion_takes_the_same() -> None:
    """The other endpoint reads its body in the same way."""
    triton, reply = sent("/v1/completions/", b"\xef\xbb\xbf" + json.dumps(completion_body(suffix="", stop=[])).encode())
    assert (reply.status_code, len(triton.sent), reply.json()["model"]) == (200, 1, MODEL)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"a": 1}, "prompt: input should be a valid string or a valid list"),
        ([1, 2.5], "prompt[1]: input should be a valid integer"),
        ([[1], ["a"]], "prompt[1][0]: input should be a valid integer"),
    ],
)
def test_a_fault_is_told_where_the_value_comes_closest_to_a_type(prompt: Any, message: str) -> None:
    """A parameter of several types is not told as if it had the first alone."""
    _, reply = sent("/v1/completions", json.dumps(completion_body(prompt=prompt)).encode())
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, message)


MANY = 10_000
WRONG: list[Any] = [[[]] * MANY, [1.5] * MANY, [["a"]] * MANY, {str(i): [[]] for i in range(MANY)}]


@pytest.mark.parametrize("endpoint", BODIES)
@pytest.mark.parametrize("value", WRONG, ids=["lists", "numbers", "lists of texts", "an object"])
def test_a_check_ends_at_the_first_faults(endpoint: str, value: Any) -> None:
    """Of a body full of faults not all are collected, which would take seconds in which nobody is answered."""
    plain = chat_body() if endpoint == CHAT_ENDPOINT else completion_body()
    counts = {name: faults(BODIES[endpoint], plain | {name: value}) for name in BODIES[endpoint].model_fields}
    assert max(counts.values()) <= 6, counts  # some are the plain body's own, which is no message of other endpoints
    assert len([count for count in counts.values() if count]) > 5


def faults(kind: type[BaseModel], body: dict[str, Any]) -> int:
    try:
        kind.model_validate(body)
    except ValidationError as error:
        return error.error_count()
    return 0


@pytest.mark.parametrize("kind", [TokenizeRequest, DetokenizeRequest])
def test_so_does_that_of_the_tokenizer_s_endpoints(kind: type[BaseModel]) -> None:
    counts = {name: faults(kind, {"tokens": [1], name: [1.5] * MANY}) for name in kind.model_fields}
    assert max(counts.values()) <= 2, counts  # one of them the tokens, which the other does not have


def test_a_thousand_unknown_names_are_one_fault() -> None:
    """The first is told."""
    _, reply = sent(CHAT, json.dumps(chat_body() | {f"a{i}": 1 for i in range(1000)}).encode())
    assert reply.json()["error"]["message"] == "Unknown parameter: 'a0'"
