"""Other clients of the shim: LangChain, LiteLLM and curl; thinking and tool calls of a model that has both."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import openai
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import OpenAI

from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.shims import MODEL, LiveShim
from tests.support.live.thinking_model import CALLS, SAID, TEXT, THINKING, thinking_shim

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
USER: Any = [{"role": "user", "content": "How is the weather?"}]


@pytest.fixture(scope="module")
def shim(
    serve: Serve, qwen3_folder: Any, qwen3: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveShim]:
    """In front of a Qwen3 that always thinks and calls the same."""
    with thinking_shim(serve, qwen3_folder, qwen3, tmp_path_factory.mktemp("shim")) as shim:
        yield shim


@pytest.fixture(scope="module")
def client(shim: LiveShim) -> Iterator[OpenAI]:
    with OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client:
        yield client


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def test_openai_tools_and_thinking(client: OpenAI) -> None:
    """Whole: both calls, the text before them, the thinking, the reason."""
    choice = client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS).choices[0]
    calls = choice.message.tool_calls or []
    assert [(c.function.name, json.loads(c.function.arguments)) for c in calls if c.type == "function"] == CALLS
    assert (choice.message.content, choice.finish_reason) == (TEXT, "tool_calls")
    assert choice.message.model_extra == {"reasoning_content": THINKING}


def test_openai_streamed_tools(client: OpenAI) -> None:
    """The SDK's own helper puts the deltas together."""
    with client.chat.completions.stream(model=MODEL, messages=USER, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    calls = final.message.tool_calls or []
    assert [(c.function.name, json.loads(c.function.arguments)) for c in calls] == CALLS
    assert (final.message.content, final.finish_reason) == (TEXT, "tool_calls")
    assert kinds.count("tool_calls.function.arguments.delta") > len(CALLS)


def test_openai_one_call_at_most(client: OpenAI) -> None:
    """The answer ends with its first call, in the line already: usage says so."""
    one = client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS, parallel_tool_calls=False)
    all_of_it = client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS)
    calls = one.choices[0].message.tool_calls or []
    assert [(c.function.name, json.loads(c.function.arguments)) for c in calls if c.type == "function"] == CALLS[:1]
    assert one.choices[0].finish_reason == "tool_calls"
    assert one.usage is not None
    assert all_of_it.usage is not None
    assert one.usage.completion_tokens < all_of_it.usage.completion_tokens


def test_an_answer_is_sent_back_as_it_came(client: OpenAI) -> None:
    """With reasoning_content and tool_calls; the prompt grows by what was said and the tool's result."""
    first = client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS)
    answer: Any = first.choices[0].message.model_dump(exclude_none=True)
    results = [{"role": "tool", "tool_call_id": c["id"], "content": "sunny"} for c in answer["tool_calls"]]
    second = client.chat.completions.create(model=MODEL, messages=[*USER, answer, *results], tools=TOOLS)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens


def test_a_named_function_begins_the_answer(client: OpenAI) -> None:
    """The prompt is longer by the call's beginning; what the script says behind it is no JSON and stays visible."""
    plain = client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS)
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    begun = client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS, tool_choice=named)
    assert plain.usage is not None
    assert begun.usage is not None
    assert begun.usage.prompt_tokens > plain.usage.prompt_tokens
    assert TEXT in str(begun.choices[0].message.content)


def test_langchain(shim: LiveShim) -> None:
    """Its chat model: whole, streamed, with a bound tool."""
    model = ChatOpenAI(base_url=shim.v1, api_key="none", model=MODEL, max_retries=0)  # type: ignore[arg-type]
    assert model.invoke("hi").content == SAID.split("</think>\n\n")[1]
    assert "".join(str(c.content) for c in model.stream("hi")) == SAID.split("</think>\n\n")[1]
    answer = model.bind_tools([get_weather]).invoke("How is the weather?")
    assert [(c["name"], c["args"]) for c in answer.tool_calls] == CALLS
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 40
    merged = None
    for chunk in model.bind_tools([get_weather]).stream("How is the weather?"):
        merged = chunk if merged is None else merged + chunk
    assert [(c["name"], c["args"]) for c in merged.tool_calls] == CALLS  # type: ignore[union-attr]


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, kept from fetching its list of prices when it is imported."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return import_module("litellm")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_litellm(shim: LiveShim, litellm: Any) -> None:
    """As a custom OpenAI provider."""
    where = {"model": f"openai/{MODEL}", "api_base": shim.v1, "api_key": "none", "num_retries": 0}
    answer: Any = litellm.completion(**where, messages=USER, tools=TOOLS)
    message = answer.choices[0].message
    assert [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls] == CALLS
    assert (message.content, message.reasoning_content) == (TEXT, THINKING)
    chunks: Any = litellm.completion(**where, messages=USER, tools=TOOLS, stream=True)
    rebuilt: Any = litellm.stream_chunk_builder(list(chunks))
    assert [json.loads(c.function.arguments) for c in rebuilt.choices[0].message.tool_calls] == [a for _, a in CALLS]
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**where, messages=[{"role": "bard", "content": "x"}])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("stream", [False, True])
def test_litellm_knows_a_full_context(shim: LiveShim, litellm: Any, stream: bool) -> None:
    """By its words: it raises the error upon which agents shorten the conversation. A large max_tokens is none."""
    where = {"model": f"openai/{MODEL}", "api_base": shim.v1, "api_key": "none", "num_retries": 0, "stream": stream}
    with pytest.raises(litellm.ContextWindowExceededError, match="maximum context length is 32768 tokens"):
        litellm.completion(**where, messages=[{"role": "user", "content": "word " * 40_000}])
    list(litellm.completion(**where, messages=USER, max_tokens=100_000))


def curl(*arguments: str) -> str:
    return subprocess.run(
        ["curl", "-sS", "-N", *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_curl(shim: LiveShim) -> None:
    """Without a content type, as people type it; streamed to the end mark; a fault with its status."""
    body = json.dumps({"model": MODEL, "messages": USER, "stream": True})
    lines = curl(f"{shim.v1}/chat/completions", "-d", body).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    found = [json.loads(line[6:])["choices"][0]["delta"] for line in lines[:-2]]
    assert "".join(d.get("reasoning_content", "") for d in found) == THINKING
    fault = curl(f"{shim.v1}/chat/completions", "-d", "{", "-w", "%{http_code}")
    assert fault.endswith("400")


def test_langchain_s_errors(shim: LiveShim) -> None:
    """They are the SDK's."""
    model = ChatOpenAI(base_url=shim.v1, api_key="none", model="gpt-4", max_retries=0)  # type: ignore[arg-type]
    with pytest.raises(openai.NotFoundError):
        model.invoke("hi")
