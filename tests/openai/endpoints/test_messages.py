"""Anthropic's Messages API through the shim, whole and streamed, over a server that says what it is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import EngineError, InvalidRequest, Unavailable
from qwen_triton.tensors.limits import Limits
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import ToolChoice, Usage
from qwen_triton_openai.middleware.keys import digest_of
from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection, ask, status, until, with_app
from tests.support.fake_triton import FakeTriton, answer, cut, message_body, shim_client
from tests.support.shim_requests import SECRET

PATH, COUNT = "/v1/messages", "/v1/messages/count_tokens"
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": {"type": "object"}}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
USAGE = {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 3}


def message(triton: FakeTriton, **more: Any) -> Any:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=message_body(**more))
    assert reply.status_code == 200, reply.text
    return reply.json()


def stream(triton: FakeTriton, **more: Any) -> list[dict[str, Any]]:
    """The events of a stream, pings too."""
    with shim_client(triton) as client:
        reply = client.post(PATH, json=message_body(stream=True, **more))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return events(reply.text)


def events(body: str) -> list[dict[str, Any]]:
    found = []
    for one in body.removesuffix("\n\n").split("\n\n"):
        name, data = one.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def error(reply: Any) -> tuple[int, str, str]:
    """Status, type and message; the shape is this API's, and the id is the header's."""
    body = reply.json()
    assert (set(body), body["type"], set(body["error"])) == (
        {"type", "error", "request_id"},
        "error",
        {"type", "message"},
    )
    assert body["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"] != ""
    return reply.status_code, body["error"]["type"], body["error"]["message"]


def test_a_whole_message() -> None:
    """To the key."""
    found = message(FakeTriton([answer("hello")]))
    assert found.pop("id").startswith("msg_")
    assert found == {
        "type": "message",
        "role": "assistant",
        "model": "qwen",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }


def test_a_streamed_message() -> None:
    """Every event in its place, the prompt's count with the first."""
    pieces = [TextPiece("hel", usage=Usage(5, 1)), TextPiece("lo"), answer("")]
    start, *found = stream(FakeTriton(pieces))
    head = start["message"]
    assert head.pop("id").startswith("msg_")
    assert start == {
        "type": "message_start",
        "message": {
            "type": "message", "role": "assistant", "model": "qwen", "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": USAGE | {"output_tokens": 1},
        },
    }  # fmt: skip
    assert found == [
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
        {"type": "message_stop"},
    ]


def test_thinking_and_a_call_are_blocks() -> None:
    """In their order; the input of a call is an object."""
    said = [answer(f"<think>\nhm\n</think>\n\nLet me see.\n{CALL}", cached=4)]
    found = message(FakeTriton(said), tools=[TOOL], thinking={"type": "enabled", "budget_tokens": 1024})
    call = found["content"][2]
    assert call.pop("id").startswith("toolu_")
    assert found["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "unsigned"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "name": "get_weather", "input": {"city": "北京"}},
    ]
    assert found["stop_reason"] == "tool_use"
    assert found["usage"] == USAGE | {"input_tokens": 1, "cache_read_input_tokens": 4}


def test_thinking_that_is_not_to_be_shown() -> None:
    """Its block is there, as it has to be sent back, without its text; the stream says the same."""
    thinking = {"type": "adaptive", "display": "omitted"}
    said = [TextPiece("<think>\nhm"), answer("\n</think>\n\nhi")]
    assert message(FakeTriton(said), thinking=thinking)["content"] == [
        {"type": "thinking", "thinking": "", "signature": "unsigned"},
        {"type": "text", "text": "hi"},
    ]
    deltas = [e["delta"] for e in stream(FakeTriton(said), thinking=thinking) if e["type"] == "content_block_delta"]
    assert [delta["type"] for delta in deltas] == ["signature_delta", "text_delta"]


def test_a_streamed_call() -> None:
    """Its input as it comes, as text."""
    triton = FakeTriton(cut(CALL, 5))
    found = stream(triton, tools=[TOOL])
    starts = [e["content_block"] for e in found if e["type"] == "content_block_start"]
    assert [(b["type"], b["name"], b["input"]) for b in starts] == [("tool_use", "get_weather", {})]
    parts = [e["delta"]["partial_json"] for e in found if e["type"] == "content_block_delta"]
    assert len(parts) > 3
    assert json.loads("".join(parts)) == {"city": "北京"}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert triton.sent[0].tools[0]["function"]["name"] == "get_weather"


def test_a_call_that_must_be_made() -> None:
    """The prompt ends with its beginning, as it does for a chat completion."""
    triton = FakeTriton([answer(' {"city": "Oslo"}}\n</tool_call>')])
    found = message(triton, tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"})
    assert [b["input"] for b in found["content"]] == [{"city": "Oslo"}]
    assert triton.sent[0].tool_choice == ToolChoice("named", "get_weather")


def test_the_stop_sequence_is_named() -> None:
    found = message(FakeTriton([answer("x", stop_reason="###")]), stop_sequences=["###"])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "###")


def test_a_number_of_any_size_is_passed_on() -> None:
    """In the input of a call, where a JSON writer would give up."""
    digits = "9" * 40
    call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"a": {digits}, "b": 1e999}}}}\n</tool_call>'
    with shim_client(FakeTriton([answer(call)])) as client:
        reply = client.post(PATH, json=message_body(tools=[TOOL]))
    assert f'"input":{{"a": {digits}, "b": 1e999}}' in reply.text


def test_tokens_are_counted_by_the_tokenizer() -> None:
    """Of the prompt that the message would have: system, tools, template options."""
    triton = FakeTriton()
    triton.infers = {"INPUT_ID": np.array([[1, 2, 3]], np.int32).tobytes()}
    asked = message_body(system="Be brief.", tools=[TOOL], tool_choice={"type": "any"})
    body = {k: v for k, v in asked.items() if k != "max_tokens"}
    with shim_client(triton) as client:
        reply = client.post(COUNT, json=body)
    assert (reply.status_code, reply.json()) == (200, {"input_tokens": 3})
    [(model, arrays)] = triton.inferred
    assert model == "preprocessing"
    assert json.loads(arrays["MESSAGES"].item()) == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"},
    ]  # fmt: skip
    assert json.loads(arrays["TOOLS"].item())[0]["function"]["name"] == "get_weather"
    assert arrays["TOOL_CHOICE"].item() == b"required"
    assert json.loads(arrays["CHAT_TEMPLATE_KWARGS"].item()) == {"enable_thinking": False}


def test_headers_of_anthropic_s_clients() -> None:
    """A version is not needed, any is taken, and so are the betas."""
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "output-128k-2025-02-19", "x-api-key": "any"}
    with shim_client() as client:
        assert client.post(PATH + "?beta=true", json=message_body(), headers=headers).status_code == 200
        assert client.post(PATH, json=message_body()).status_code == 200


def test_a_key_is_needed_where_keys_are_configured(tmp_path: Path) -> None:
    """In this API's header; who has none is told so in this API's shape."""
    file = tmp_path / "keys"
    file.write_text(f"alice sha256:{digest_of(SECRET)}\n")
    with shim_client(api_keys_file=file) as client:
        assert client.post(PATH, json=message_body(), headers={"x-api-key": SECRET}).status_code == 200
        for path in (PATH, COUNT):
            assert error(client.post(path, json=message_body()))[:2] == (401, "authentication_error")


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", PATH, message_body(model="claude-opus-4"), (404, "not_found_error")),
        ("POST", COUNT, {"model": "x", "messages": message_body()["messages"]}, (404, "not_found_error")),
        ("POST", PATH + "/batches", {}, (404, "not_found_error")),
        ("GET", PATH, None, (405, "invalid_request_error")),
        ("POST", PATH, [], (400, "invalid_request_error")),
        ("POST", PATH, message_body(system="x" * 9_000), (413, "request_too_large")),
        ("POST", PATH, message_body(stop_sequences=["x"] * 9), (400, "invalid_request_error")),
    ],
)
def test_errors_have_this_api_s_shape(method: str, path: str, body: Any, expected: tuple[int, str]) -> None:
    """The endpoint's, the framework's and the middleware's."""
    with shim_client(max_body_bytes=8_000, limits=Limits(stop_strings=8)) as client:
        assert error(client.request(method, path, json=body))[:2] == expected


def test_too_many_requests() -> None:
    """429 with the time to wait, which the package's client waits."""
    with shim_client(requests_per_minute=1) as client:
        first, second = [client.post(PATH, json=message_body()) for _ in range(2)]
    assert first.status_code == 200
    assert error(second)[:2] == (429, "rate_limit_error")
    assert int(second.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Unavailable("it starts"), (503, "overloaded_error", "it starts")),
        (EngineError("secret"), (500, "api_error", "secret")),
        (RuntimeError("secret"), (500, "api_error", "internal error; the server's log has the cause")),
        (InvalidRequest("This model's maximum context length is 9 tokens.", "text_input"),
         (400, "invalid_request_error", "This model's maximum context length is 9 tokens.")),
        (InvalidRequest("is unknown", "chat_template_kwargs.enable_thinking"),
         (400, "invalid_request_error", "thinking.enable_thinking: is unknown")),
    ],
)  # fmt: skip
def test_faults_of_the_model_before_its_first_word(fault: Exception, expected: tuple[int, str, str]) -> None:
    """Whole and streamed: a status of their own, in the words of this API."""
    for streamed in (False, True):
        with shim_client(FakeTriton([fault])) as client:
            found = error(client.post(PATH, json=message_body(stream=streamed)))
        assert found[:2] == expected[:2]
        if not isinstance(fault, RuntimeError):
            assert found[2] == expected[2]


def test_a_fault_in_mid_stream_is_an_event() -> None:
    """The last one, with the id of the request; no end mark follows."""
    *_, last = stream(FakeTriton([TextPiece("hel"), Unavailable("it fell")]))
    request_id = last.pop("request_id")
    assert request_id.startswith("req-")
    assert last == {"type": "error", "error": {"type": "overloaded_error", "message": "it fell"}}


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    """In the input of a call in the history, which any JSON parser of ours has taken."""
    deep = '{"a": ' + "[" * 980 + "]" * 980 + "}"
    use = '{"type": "tool_use", "id": "t", "name": "f", "input": ' + deep + "}"
    result = '{"type": "tool_result", "tool_use_id": "t", "content": "x"}'
    messages = f'[{{"role": "assistant", "content": [{use}]}}, {{"role": "user", "content": [{result}]}}]'
    triton = FakeTriton()
    triton.infers = {"INPUT_ID": b""}
    with shim_client(triton) as client:
        found = error(client.post(COUNT, content=f'{{"model": "qwen", "messages": {messages}}}'))
    assert found == (400, "invalid_request_error", "the body is nested too deeply; send flatter values")


def test_the_caller_is_in_the_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    """As its client names it; the endpoint's path is a label of the metrics."""
    with shim_client() as client:
        client.post(PATH, json=message_body(metadata={"user_id": "u-1"}))
        client.post(PATH, json=message_body(metadata={"user_id": None}))
        metrics = client.get("/metrics").text
    first, second, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["metadata"], first["path"], first["completion_tokens"]) == ({"user_id": "u-1"}, PATH, 3)
    assert second["metadata"] == {}
    assert 'qwen_triton_openai_requests_total{key="-",model="qwen",path="/v1/messages",status="200"} 2.0' in metrics


def test_tokens_of_an_answer_that_was_cut_off_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """By its pieces, though the first one has had a count."""
    pieces = [TextPiece("a", usage=Usage(5, 1)), TextPiece("b"), TextPiece("c"), Unavailable("gone")]
    stream(FakeTriton(pieces))
    line = json.loads(capsys.readouterr().out)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (5, 3)


def exchange(triton: FakeTriton, body: dict[str, Any], **settings: Any) -> Connection:
    """One request whose client leaves when it has been told something."""
    connection = Connection(PATH, body)

    async def story(app: Any) -> None:
        asking = asyncio.create_task(ask(app, connection))
        await until(lambda: triton.generations)
        if body.get("stream"):
            await asyncio.wait_for(connection.told.wait(), 5)
        connection.leave()
        await asking

    asyncio.run(with_app(ShimSettings(**settings), triton, story))
    return connection


@pytest.mark.parametrize("streamed", [False, True])
def test_who_leaves_gives_the_slot_back(streamed: bool) -> None:
    triton = FakeTriton([TextPiece("hel")], endless=True)
    exchange(triton, message_body(stream=streamed))
    assert [g.cancelled for g in triton.generations] == [True]


def test_silence_is_filled_with_pings_when_asked_to() -> None:
    connection = exchange(FakeTriton([], endless=True), message_body(stream=True), keep_alive_s=0.02)
    assert status(connection) == 200
    assert connection.text.startswith('event: ping\ndata: {"type":"ping"}\n\n')


def test_readers_of_lines_do_not_split_within_an_answer() -> None:
    """U+2028, U+2029 and U+0085 are escaped, also in the input of a call."""
    odd = "a\u2028b\u2029c\x85d"
    call = f'<tool_call>\n{{"name": "f", "arguments": {{"a": "{odd}"}}}}\n</tool_call>'
    said = [answer(f"{odd}\n{call}")]
    found = message(FakeTriton(said), tools=[TOOL])
    assert (found["content"][0]["text"], found["content"][1]["input"]) == (odd, {"a": odd})
    with shim_client(FakeTriton(said)) as client:
        for streamed in (False, True):
            text = client.post(PATH, json=message_body(tools=[TOOL], stream=streamed)).text
            assert text.splitlines() == text.split("\n")[: len(text.splitlines())]


def test_unknown_parameters_may_be_ignored() -> None:
    with shim_client(unknown_parameters="ignore") as client:
        reply = client.post(PATH, json=message_body(container="c", temprature=1))
    assert (reply.status_code, reply.headers["x-ignored-parameters"]) == (200, "container, temprature")
