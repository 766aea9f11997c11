"""Responses through the shim, whole and streamed, over a server that says what it is told.

The cases of the Open Responses suite that a server of text without a store can have are here too, by our own hand.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from qwen_triton.errors import Cancelled, InvalidRequest, Unavailable
from qwen_triton.tensors.text_outputs import TextPiece
from tests.support.fake_triton import FakeTriton, answer, cut, named_events, shim_client
from tests.support.shim_requests import SECRET, WITH_KEY, error

PATH = "/v1/responses"
TOOL = {
    "type": "function", "name": "get_weather", "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}  # fmt: skip
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "北京"}}\n</tool_call>'
REQUIRED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "user", "usage",
    "max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier",
    "prompt_cache_key",
}  # fmt: skip
"""The fields that a response has by the Open Responses specification of 2026-04-24."""


def body(**more: Any) -> dict[str, Any]:
    return {"model": "qwen", "input": [{"type": "message", "role": "user", "content": "Say hello."}]} | more


def ask(triton: FakeTriton, **more: Any) -> dict[str, Any]:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=body(**more))
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    assert set(found) >= REQUIRED
    Response.model_validate(found)
    return found


def stream(triton: FakeTriton, **more: Any) -> list[dict[str, Any]]:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=body(stream=True, **more))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert reply.text.endswith("\n\ndata: [DONE]\n\n")
    events = named_events(reply.text)
    for event in events:
        assert set(event.get("response", REQUIRED)) >= REQUIRED
    return events


def test_a_text_response() -> None:
    """Every field of its item, and the usage."""
    found = ask(FakeTriton([answer("hello", cached=2)]))
    [item] = found["output"]
    assert item == {
        "id": item["id"], "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}],
    }  # fmt: skip
    assert (found["status"], found["error"], found["incomplete_details"], found["store"]) == (
        "completed",
        None,
        None,
        False,
    )
    assert found["usage"] == {
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8,
    }  # fmt: skip
    assert found["id"].startswith("resp_")
    assert item["id"].startswith("msg_")
    assert found["completed_at"] >= found["created_at"]


def test_a_streamed_response() -> None:
    """Its deltas are its text, and its last event has the whole."""
    events = stream(FakeTriton(cut("Count: 一二三", 3)))
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == "Count: 一二三"
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Count: 一二三"
    assert events[0]["response"]["status"] == "in_progress"
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]


def test_a_system_message() -> None:
    """As an item, and as instructions before it."""
    triton = FakeTriton()
    pirate = {"type": "message", "role": "system", "content": "You are a pirate."}
    ask(triton, input=[pirate, {"role": "user", "content": "hi"}], instructions="Be brief.")
    assert triton.sent[0].messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "hi"},
    )


def test_a_call() -> None:
    """With ids of item and call, its arguments a JSON text."""
    triton = FakeTriton([answer(f"<think>\nWell.\n</think>\n\n{CALL}")])
    found = ask(triton, tools=[TOOL])
    thinking, call = found["output"]
    assert thinking == {
        "id": thinking["id"], "type": "reasoning", "status": "completed", "summary": [],
        "content": [{"type": "reasoning_text", "text": "Well."}],
    }  # fmt: skip
    assert call == {
        "id": call["id"], "type": "function_call", "status": "completed", "call_id": call["call_id"],
        "name": "get_weather", "arguments": '{"location": "北京"}',
    }  # fmt: skip
    assert call["id"].startswith("fc_")
    assert call["call_id"].startswith("call_")
    assert found["tools"] == [{**TOOL, "strict": None}]
    [sent] = triton.sent[0].tools
    assert sent == {"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}


def test_a_streamed_call() -> None:
    """Begun by its name, its arguments in deltas, ended by the whole."""
    events = stream(FakeTriton(cut(CALL, 7)), tools=[TOOL])
    added = next(e for e in events if e["type"] == "response.output_item.added")
    assert (added["item"]["type"], added["item"]["name"], added["item"]["arguments"]) == (
        "function_call",
        "get_weather",
        "",
    )
    parts = [e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta"]
    done = next(e for e in events if e["type"] == "response.function_call_arguments.done")
    assert "".join(parts) == done["arguments"] == '{"location": "北京"}'
    assert len(parts) > 2
    item = next(e for e in events if e["type"] == "response.output_item.done")["item"]
    assert item == events[-1]["response"]["output"][0]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_of_a_namespace(streamed: bool) -> None:
    """Its item has the namespace and the function's own name."""
    space = {"type": "namespace", "name": "weather", "description": "d", "tools": [{"strict": None, **TOOL}]}
    triton = FakeTriton([answer(CALL.replace("get_weather", "weather__get_weather"))])
    found = stream(triton, tools=[space])[-1]["response"] if streamed else ask(triton, tools=[space])
    [call] = found["output"]
    assert (call["namespace"], call["name"]) == ("weather", "get_weather")


@pytest.mark.parametrize("phase", [{}, {"phase": "commentary"}, {"phase": "final_answer"}])
def test_several_turns(phase: dict[str, str]) -> None:
    """An assistant's message of the history, with and without its phase."""
    triton = FakeTriton()
    history = [
        {"type": "message", "role": "user", "content": "My name is Alice."},
        {"type": "message", "role": "assistant", "content": "Hello Alice!", **phase},
        {"type": "message", "role": "user", "content": "What is my name?"},
    ]
    assert ask(triton, input=history)["status"] == "completed"
    assert [m["content"] for m in triton.sent[0].messages or ()] == [
        "My name is Alice.",
        "Hello Alice!",
        "What is my name?",
    ]


def test_an_image_is_refused() -> None:
    """These models read text; the place is named."""
    parts = [{"type": "input_text", "text": "See?"}, {"type": "input_image", "image_url": "data:image/png;base64,AA"}]
    with shim_client() as client:
        reply = client.post(PATH, json=body(input=[{"role": "user", "content": parts}]))
    assert error(reply) == (400, "invalid_request_error", "invalid_value")
    assert reply.json()["error"]["param"] == "input[0].content[1].type"


@pytest.mark.parametrize("streamed", [False, True])
def test_what_was_said_goes_back_as_it_came(streamed: bool) -> None:
    """The output of a response, and the results of its calls, in the next request."""
    triton = FakeTriton([answer(f"<think>\nWell.\n</think>\n\nSee: {CALL}")])
    first = stream(triton, tools=[TOOL])[-1]["response"] if streamed else ask(triton, tools=[TOOL])
    call = first["output"][-1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    ask(triton, input=[*body()["input"], *first["output"], result], tools=[TOOL])
    assert (triton.sent[1].messages or ())[1:] == (
        {
            "role": "assistant", "content": "See:", "reasoning_content": "Well.",
            "tool_calls": [{"id": call["call_id"], "type": "function", "function": {
                "name": "get_weather", "arguments": '{"location": "北京"}'}}],
        },
        {"role": "tool", "tool_call_id": call["call_id"], "content": "sunny"},
    )  # fmt: skip


def test_an_answer_that_was_cut_is_incomplete() -> None:
    """So is its last item, whole and streamed."""
    triton = FakeTriton([TextPiece("hel"), answer("", "length")])
    whole = ask(triton, max_output_tokens=3)
    last = stream(triton, max_output_tokens=3)[-1]
    assert last["type"] == "response.incomplete"
    for found in (whole, last["response"]):
        assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert (found["output"][0]["status"], found["completed_at"]) == ("incomplete", None)
    assert triton.sent[0].sampling.max_tokens == 3


@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_before_the_answer_is_an_http_error(streamed: bool) -> None:
    """In OpenAI's form, with this API's name of the parameter."""
    fault = InvalidRequest("This model's maximum context length is 64 tokens.", "text_input")
    with shim_client(FakeTriton([fault])) as client:
        reply = client.post(PATH, json=body(stream=streamed))
    assert error(reply) == (400, "invalid_request_error", "context_length_exceeded")
    assert reply.json()["error"]["param"] == "input"
    with shim_client(FakeTriton([Unavailable("busy")])) as client:
        assert error(client.post(PATH, json=body(stream=streamed))) == (503, "server_error", "overloaded")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("depth", [100, *range(240, 255), 900])
def test_values_that_cannot_be_repeated_are_refused_at_once(streamed: bool, depth: int) -> None:
    """A response repeats its request: nested so deeply that it cannot, it is refused before anything is generated."""
    parameters: dict[str, Any] = {}
    for _ in range(depth):
        parameters = {"a": parameters}
    triton = FakeTriton()
    with shim_client(triton) as client:
        text = json.dumps(body(tools=[TOOL | {"parameters": parameters}], stream=streamed))
        reply = client.post(PATH, content=text)
    if reply.status_code == 200:
        assert depth < 254
        assert "completed" in reply.text
    else:
        assert depth > 240
        assert (reply.status_code, len(triton.sent)) == (400, 0)
        assert "nested too deeply" in reply.json()["error"]["message"]


def test_an_error_within_the_answer_is_its_last_event() -> None:
    """With the part that was sent."""
    last = stream(FakeTriton([TextPiece("hel"), Cancelled("gone")]))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"
    assert last["response"]["output"][0]["content"][0]["text"] == "hel"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_nothing_is_stored(method: str) -> None:
    """404 with the reason; and what needs a store is refused with what to do instead."""
    with shim_client() as client:
        reply = client.request(method, f"{PATH}/resp_1")
        again = client.post(PATH, json=body(previous_response_id="resp_1"))
    assert error(reply) == (404, "invalid_request_error", "not_found")
    assert "stores none" in reply.json()["error"]["message"]
    assert again.json()["error"]["message"] == (
        "previous_response_id: nothing is stored here; send the earlier items again, in input; leave it out"
    )


def test_hosted_tools_are_left_out_where_the_operator_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """And named, as parameters are that are not heeded."""
    triton = FakeTriton()
    with shim_client(triton, unknown_parameters="ignore") as client:
        reply = client.post(PATH, json=body(tools=[{"type": "web_search"}, TOOL], store=True))
    assert (reply.status_code, reply.headers["x-ignored-parameters"]) == (200, "store, tools%5B0%5D")
    assert len(triton.sent[0].tools) == 1
    assert json.loads(capsys.readouterr().out)["ignored_parameters"] == ["store", "tools[0]"]


def test_the_gates_are_those_of_all_endpoints(capsys: pytest.CaptureFixture[str]) -> None:
    """Limits, a label of the metrics, a line of the access log with the counts."""
    with shim_client(FakeTriton(), requests_per_minute=2) as client:
        replies = [client.post(PATH, json=body()) for _ in range(3)]
        assert [r.status_code for r in replies] == [200, 200, 429]
        assert error(replies[2])[1:] == ("requests", "rate_limit_exceeded")
        metrics = client.get("/metrics").text
    assert 'qwen_triton_openai_requests_total{key="-",model="qwen",path="/v1/responses",status="200"} 2.0' in metrics
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (line["path"], line["prompt_tokens"], line["completion_tokens"]) == (PATH, 5, 3)


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.setenv("QWEN_TRITON_API_KEYS", f"team={SECRET}")
    with shim_client() as client:
        assert client.post(PATH, json=body()).status_code == 401
        assert client.post(PATH, json=body(), headers=WITH_KEY).status_code == 200
