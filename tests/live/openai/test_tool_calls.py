"""Tool calls on a real server: forced ones of the demo model, and an answer that ends with its first call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from openai import OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from demo.evaluate import DEPLOYMENT
from demo.example import Example
from demo.tasks.tools import call_tool
from qwen_triton.tensors.contract import BLS
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.client import generate
from tests.support.live.instructor import extract, instructor_python
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.waiting import becomes

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

FORCED = [("required", 1), ("required", 2), ("named", 1), ("named", 2)]
USER: Any = [{"role": "user", "content": "Write it."}]
TOOLS: Any = [{"type": "function", "function": {"name": "write", "parameters": {"type": "object"}}}]
ARGUMENTS = '{"text":"close with </tool_call> ok"}'
PROSE = "The tag </tool_call> ends a call."
CLOSED = f'{PROSE}\n<tool_call>\n{{"name":"write","arguments":{ARGUMENTS}}}\n</tool_call>'
SAID = CLOSED + '\n<tool_call>\n{"name":"write","arguments":{"text":"again"}}\n</tool_call>' * 40
"""Some 1,000 tokens, of which the first 40 are wanted."""


@pytest.fixture(scope="module")
def demo_shim(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    """In front of the demo model on the CPU engine."""
    with shimming(serve(DEPLOYMENT), tmp_path_factory.mktemp("demo_shim")) as shim:
        yield shim


@pytest.fixture(scope="module")
def demo(demo_shim: LiveShim) -> Iterator[OpenAI]:
    with OpenAI(base_url=demo_shim.v1, api_key="none", max_retries=0) as client:
        yield client


def questions(tools: int) -> Iterator[Example]:
    """Questions for one call, with so many tools to choose from."""
    rng = Random(tools)
    while True:
        example = call_tool(rng, rng.choice(("en", "zh")))
        if len(example.calls) == 1 and len(example.tools) == tools:
            yield example


@pytest.mark.parametrize(("choice", "tools"), FORCED)
@pytest.mark.parametrize("stream", [False, True])
def test_each_forced_call_of_the_demo_is_a_call(demo: OpenAI, choice: str, tools: int, stream: bool) -> None:
    """10 of 10, each with the function and the arguments asked for: 40 of 40 in all, whole and streamed."""
    for number, example in enumerate(islice(questions(tools), 10)):
        name = example.calls[0]["name"]
        forced: Any = "required" if choice == "required" else {"type": "function", "function": {"name": name}}
        thinks = {"chat_template_kwargs": {"enable_thinking": number % 2 == 1}}  # it does not, and that spoils no call
        sent: Any = {"messages": example.messages, "tools": example.tools, "tool_choice": forced, "temperature": 0}
        sent["extra_body"] = thinks
        if stream:
            with demo.chat.completions.stream(model=MODEL, **sent) as events:
                found = events.get_final_completion().choices[0]
        else:
            found = demo.chat.completions.create(model=MODEL, **sent).choices[0]
        calls: Any = found.message.tool_calls or []
        told = [{"name": c.function.name, "arguments": json.loads(c.function.arguments)} for c in calls]
        assert (told, found.message.content, found.finish_reason) == (example.calls, None, "tool_calls")


@tool
def get_weather(city: str) -> str:
    """Get the current weather"""
    return json.dumps({"temperature": 21, "condition": "sunny"}) if city == "Oslo" else "no such city"


@tool
def get_time(city: str) -> str:
    """Get the current time"""
    return json.dumps({"time": "07:05"}) if city == "Oslo" else "no such city"


def langchain(shim: LiveShim) -> ChatOpenAI:
    return ChatOpenAI(base_url=shim.v1, api_key="none", model=MODEL, max_retries=0, temperature=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["any", "required", "get_weather", True])
def test_langchain_forces_calls(demo_shim: LiveShim, choice: Any) -> None:
    """By all the ways that bind_tools has; streamed as well."""
    tools = [get_weather] if choice is True else [get_weather, get_time]
    model = langchain(demo_shim).bind_tools(tools, tool_choice=choice)
    sent = "What is the weather in Oslo?"
    wanted = [("get_weather", {"city": "Oslo"})]
    assert [(c["name"], c["args"]) for c in model.invoke(sent).tool_calls] == wanted
    merged: Any = None
    for chunk in model.stream(sent):
        merged = chunk if merged is None else merged + chunk
    assert [(c["name"], c["args"]) for c in merged.tool_calls] == wanted


@pytest.mark.parametrize("question", ["What is the weather in Oslo?", "What time is it in Oslo?"])
def test_an_agent_of_langgraph_calls_and_answers(demo_shim: LiveShim, question: str) -> None:
    """Question, call, result, answer: the call goes back as history."""
    model = langchain(demo_shim).bind_tools([get_weather, get_time])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([get_weather, get_time]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    messages: Any = graph.compile().invoke({"messages": [("user", question)]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert ("sunny" if "weather" in question else "07:05") in messages[-1].content


def test_pydantic_ai_gets_its_output(demo_shim: LiveShim) -> None:
    """By default it forces a call of a tool that stands for the type."""

    class Place(BaseModel):
        city: str

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=demo_shim.v1, api_key="none"))
    agent = Agent(model, output_type=Place, model_settings={"temperature": 0})
    assert agent.run_sync("What is the weather in Oslo?").output == Place(city="Oslo")


@pytest.fixture(scope="module")
def instructor() -> Path:
    """Its interpreter."""
    return instructor_python()


def test_instructor_extracts_by_a_forced_call(instructor: Path, demo_shim: LiveShim) -> None:
    """Its default mode names the function; the stream's states grow to the whole object, value by value."""
    found = extract(instructor, demo_shim.v1, MODEL, "TOOLS", "What is the weather in Oslo?")
    assert (found.whole, found.finish_reason) == ({"city": "Oslo"}, "tool_calls")
    assert found.partial[-1] == found.whole
    assert {"city": None} in found.partial, "an object is seen before it is complete"


@pytest.fixture(scope="module")
def replay(serve: Serve, qwen3_folder: Any, qwen3: Tokenizer) -> LiveServer:
    """A model that calls 41 times, 4 ms a token."""
    engine = {"kind": "replay", "mode": "scripts", "scripts": [qwen3.encode(SAID)], "step_ms": 4.0, "forms": "play"}
    return serve({"model": str(qwen3_folder), "engine": engine})


@pytest.fixture(scope="module")
def client(replay: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with (
        shimming(replay, tmp_path_factory.mktemp("shim")) as shim,
        OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_single_call_is_cancelled_in_the_engine_once_it_is_closed(
    client: OpenAI, replay: LiveServer, qwen3: Tokenizer, stream: bool, n: int
) -> None:
    """A tag in prose or in an argument ends nothing; each choice ends with its own call; usage counts up to there."""
    before = replay.engine_counters()
    sent: Any = {"messages": USER, "tools": TOOLS, "parallel_tool_calls": False, "n": n}
    if stream:
        with client.chat.completions.stream(
            model=MODEL, stream_options={"include_usage": True}, **sent
        ) as events:  # fmt: skip
            found: Any = events.get_final_completion()
    else:
        found = client.chat.completions.create(model=MODEL, **sent)
    for choice in found.choices:
        calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
        assert (calls, choice.message.content, choice.finish_reason) == ([("write", ARGUMENTS)], PROSE, "tool_calls")
    assert found.usage.completion_tokens == n * len(qwen3.encode(CLOSED))
    assert becomes(replay.is_free, 1.0)
    after = replay.engine_counters()
    assert (after["cancelled"], after["finished"]) == (before["cancelled"] + n, before["finished"])
    assert after["tokens"] - before["tokens"] < n * len(qwen3.encode(SAID)) / 4


@pytest.mark.parametrize("parallel", [False, True])
def test_the_bls_ends_its_text_where_the_call_is_closed(replay: LiveServer, parallel: bool) -> None:
    """For callers of Triton itself, by the input `parallel_tool_calls`."""
    sent = {"messages": json.dumps(USER), "tools": json.dumps(TOOLS), "parallel_tool_calls": parallel}
    answer = generate(replay, BLS, **sent)
    assert (answer["text_output"], answer["finish_reason"]) == (SAID if parallel else CLOSED, "stop")
