"""Round trip: whatever the shim sends as an assistant's message is accepted as history, and templates render it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage
from starlette.testclient import TestClient

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.fake_triton import FakeTriton, answer, chat_body, cut, deltas, shim_client

PATH = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
AN_OBJECT = """
{%- for message in messages %}{{ message.role }}: {{ message.content }}
{%- for call in message.tool_calls %}
<function={{ call.function.name }}>
{%- for name, value in call.function.arguments|items %}
<parameter={{ name }}>{{ value }}</parameter>
{%- endfor %}
{%- endfor %}
{% endfor %}{{ tools }}"""
"""As templates of Qwen3-Coder read arguments: as an object."""
PARTS = st.sampled_from(
    ["<think>", "</think>", "<tool_call>", "</tool_call>", '\n{"name": "get_weather", "arguments": ', '{"old": "', "{", "}",
     "say ", '"yes" now', '"}}', "\\(", ",}", '\\ud83d"}}', "北京🌆", "\n", "\u2028", "<|im_end|>", "[" * 80, "]" * 80, "null",
     '"[1]"}', "1e999", "NaN", "\x00", '{"name": "get_weather"}']
)  # fmt: skip
TEXTS = st.lists(PARTS | st.text(max_size=8), max_size=16).map("".join)
BROKEN = '<tool_call>\n{"name": "get_weather", "arguments": {"old": "say "yes" now"}}\n</tool_call>'


@pytest.fixture(scope="module")
def triton() -> FakeTriton:
    return FakeTriton()


@pytest.fixture(scope="module")
def client(triton: FakeTriton) -> Iterator[TestClient]:
    with shim_client(triton, access_log=False) as client:
        yield client


@pytest.fixture(scope="module")
def templates(qwen_folder: Path, qwen25: Tokenizer, qwen3: Tokenizer) -> list[ChatTemplate]:
    """Two that write any arguments, and one that reads an object."""
    folders = [ChatTemplate.from_folder(qwen_folder / n, t) for n, t in (("qwen2.5", qwen25), ("qwen3", qwen3))]
    return [*folders, ChatTemplate(qwen3, {"default": AN_OBJECT}, {})]


def put_together(body: str) -> dict[str, Any]:
    """A stream's message, as clients do it: texts are joined, calls by their index."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": []}
    for delta in deltas(body):
        message["content"] += delta.get("content") or ""
        if "reasoning_content" in delta:
            message["reasoning_content"] = message.get("reasoning_content", "") + delta["reasoning_content"]
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                message["tool_calls"].append(call)
            else:
                message["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]
    return message if message["tool_calls"] else {k: v for k, v in message.items() if k != "tool_calls"}


@settings(max_examples=int(os.environ.get("EXAMPLES", "120")), deadline=None, suppress_health_check=list(HealthCheck))
@given(text=TEXTS, size=st.integers(1, 40), finish=st.sampled_from(["stop", "length"]))
@example(text=BROKEN, size=3, finish="stop")
@example(text=BROKEN[:60], size=7, finish="length")
def test_what_is_sent_is_accepted_as_history(
    client: TestClient, triton: FakeTriton, templates: list[ChatTemplate], text: str, size: int, finish: Any
) -> None:
    """Whole and streamed, whatever the model wrote and wherever it was cut off. EXAMPLES in the environment: how many."""
    triton.says = [cut(text, size, finish)]
    body = chat_body(tools=TOOLS)
    streamed = put_together(client.post(PATH, json=body | {"stream": True}).text)
    triton.says = [[answer(text, finish)]]
    whole = client.post(PATH, json=body).json()["choices"][0]["message"]
    dumped = ChatCompletionMessage.model_validate(whole).model_dump()  # with all its nulls, as OpenAI's package has it
    for message in (streamed, whole, dumped):
        results = [
            {"role": "tool", "tool_call_id": c["id"], "content": "sunny"} for c in message.get("tool_calls") or ()
        ]
        history = [*body["messages"], message, *results, {"role": "user", "content": "and then?"}]
        assert client.post(PATH, json=body | {"messages": history}).status_code == 200
        [sent] = triton.sent[-1:]
        for template in templates:
            assert template.encode(json.loads(json.dumps(sent.messages)), sent.tools)
    triton.sent.clear()
    triton.generations.clear()
