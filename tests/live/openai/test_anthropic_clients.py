"""Anthropic's Python package, and LiteLLM's door to that API, against a Qwen3 that thinks and calls tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.shims import MODEL, LiveShim
from tests.support.live.thinking_model import CALLS, TEXT, THINKING, thinking_shim

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

TOOLS: Any = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
ASK: Any = {
    "model": MODEL,
    "max_tokens": 200,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "How is the weather?"}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": TOOLS,
}
EXPECTED = [("thinking", THINKING), ("text", TEXT), *(("tool_use", call) for call in CALLS)]


@pytest.fixture(scope="module")
def shim(
    serve: Serve, qwen3_folder: Any, qwen3: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveShim]:
    """In front of a Qwen3 that always says the same."""
    with thinking_shim(serve, qwen3_folder, qwen3, tmp_path_factory.mktemp("shim")) as shim:
        yield shim


@pytest.fixture(scope="module")
def client(shim: LiveShim) -> Iterator[Anthropic]:
    with Anthropic(base_url=shim.url, api_key="none", max_retries=0) as client:
        yield client


def blocks(message: Any) -> list[tuple[str, Any]]:
    """The content, without ids."""
    found: list[tuple[str, Any]] = []
    for block in message.content:
        if block.type == "tool_use":
            found.append((block.type, (block.name, block.input)))
        else:
            found.append((block.type, block.thinking if block.type == "thinking" else block.text))
    return found


def test_create(client: Anthropic) -> None:
    """Blocks, reason, and counts that are those of count_tokens."""
    message = client.messages.create(**ASK)
    assert (blocks(message), message.stop_reason, message.role, message.model) == (
        EXPECTED,
        "tool_use",
        "assistant",
        MODEL,
    )
    counted = client.messages.count_tokens(**{k: v for k, v in ASK.items() if k != "max_tokens"}).input_tokens
    usage = message.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == counted > 50
    assert usage.output_tokens > 40
    assert usage.output_tokens_details is not None
    assert 5 < usage.output_tokens_details.thinking_tokens < usage.output_tokens


def test_stream(client: Anthropic) -> None:
    """The package's own helper puts the events together; they come one by one, the prompt's count first."""
    whole = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        events = list(stream)
        message = stream.get_final_message()
    assert (blocks(message), message.stop_reason) == (EXPECTED, "tool_use")
    assert message.usage.output_tokens == whole.usage.output_tokens
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert kinds.count("input_json") > len(CALLS)
    start = events[0].message.usage  # type: ignore[union-attr]
    assert start.input_tokens + (start.cache_read_input_tokens or 0) > 50
    assert "".join(e.text for e in events if e.type == "text") == TEXT
    assert "".join(e.thinking for e in events if e.type == "thinking") == THINKING


def test_a_round_of_tools(client: Anthropic) -> None:
    """The answer is sent back as it came, with the results in any order; the prompt grows by both."""
    first = client.messages.create(**ASK)
    results: Any = [
        {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "sunny"}]}
        for block in reversed(first.content)
        if block.type == "tool_use"
    ]
    messages: Any = [
        *ASK["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    second = client.messages.create(**{**ASK, "messages": messages})
    assert blocks(second) == EXPECTED
    grown = client.messages.count_tokens(model=MODEL, messages=messages, tools=TOOLS).input_tokens
    assert grown > client.messages.count_tokens(model=MODEL, messages=ASK["messages"], tools=TOOLS).input_tokens + 30


def test_one_call_at_most(client: Anthropic) -> None:
    """The answer ends with its first call, in the engine already."""
    one = client.messages.create(**ASK, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert (blocks(one), one.stop_reason) == (EXPECTED[:3], "tool_use")
    assert one.usage.output_tokens < client.messages.create(**ASK).usage.output_tokens


def test_the_end_of_an_answer(client: Anthropic) -> None:
    """By length, and by a stop sequence, which is named."""
    cut = client.messages.create(**{**ASK, "max_tokens": 4})
    assert (cut.stop_reason, [kind for kind, _ in blocks(cut)]) == ("max_tokens", ["thinking"])
    stopped = client.messages.create(**ASK, stop_sequences=["see."])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "see.")
    assert blocks(stopped)[1] == ("text", "Let me ")


def test_thinking_is_the_template_s(client: Anthropic) -> None:
    """Without it the prompt has Qwen3's empty block, with it it is shorter."""
    asked = {k: v for k, v in ASK.items() if k not in ("max_tokens", "thinking")}
    without = client.messages.count_tokens(**asked).input_tokens
    assert without > client.messages.count_tokens(**asked, thinking={"type": "adaptive"}).input_tokens


def test_an_answer_that_was_begun_is_continued(client: Anthropic) -> None:
    """The prompt ends with its beginning and opens no new turn."""
    begun: Any = [*ASK["messages"], {"role": "assistant", "content": "The weather"}]
    asked = {"model": MODEL, "messages": begun}
    counted = client.messages.count_tokens(**asked).input_tokens
    turn = client.messages.count_tokens(model=MODEL, messages=[*begun, {"role": "user", "content": "x"}]).input_tokens
    assert counted < turn
    assert client.messages.create(**asked, max_tokens=5).usage.output_tokens == 5


def test_errors_are_the_package_s(client: Anthropic) -> None:
    """With the message, and the id that the server's log has."""
    with pytest.raises(anthropic.NotFoundError, match="does not exist; served here: qwen-live") as missing:
        client.messages.create(**{**ASK, "model": "claude-opus-4"})
    assert missing.value.request_id == missing.value.body["request_id"]  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\.type: 'image'"):
        client.messages.create(**{**ASK, "messages": [{"role": "user", "content": [{"type": "image"}]}]})
    with pytest.raises(anthropic.BadRequestError, match="maximum context length is 32768 tokens"):
        client.messages.create(**{**ASK, "messages": [{"role": "user", "content": "word " * 40_000}]})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_litellm(shim: LiveShim, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a provider of that API, whole and streamed, in OpenAI's words; and its own door to it."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = import_module("litellm")
    where = {"model": f"anthropic/{MODEL}", "api_base": shim.url, "api_key": "none", "num_retries": 0}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    asked = {**where, "messages": ASK["messages"], "tools": tools, "max_tokens": 200}
    message = litellm.completion(**asked).choices[0].message
    assert [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls] == CALLS
    assert message.content == TEXT
    rebuilt = litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True)))
    assert [json.loads(c.function.arguments) for c in rebuilt.choices[0].message.tool_calls] == [a for _, a in CALLS]
    assert rebuilt.usage.prompt_tokens > 20
    direct = asyncio.run(
        litellm.anthropic.messages.acreate(**where, messages=ASK["messages"], max_tokens=200, tools=TOOLS)
    )
    assert [block["type"] for block in direct["content"]] == ["thinking", "text", "tool_use", "tool_use"]
