"""Clients of /v1/responses: OpenAI's package, its agents with default settings, LiteLLM; a leaving client's slot."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import openai
import pytest
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.folders import ROOT
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.tool_environment import tool_environment

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

AGENTS = "openai-agents==0.24.0"
THINKING = "Which city? 北京 🌆"
CALLS = [("get_weather", {"city": "北京"}), ("get_weather", {"city": "Paris"})]
CALLING = f"<think>\n{THINKING}\n</think>\n\nLet me see." + "".join(
    f"\n<tool_call>\n{json.dumps({'name': n, 'arguments': a}, ensure_ascii=False)}\n</tool_call>" for n, a in CALLS
)
TEXT = "Sunny in both: ☀️"
TOOLS: Any = [
    {
        "type": "function", "name": "get_weather", "description": "The weather of a city.", "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]  # fmt: skip
RUN_S = 90.0


@pytest.fixture(scope="module")
def server(serve: Serve, qwen3_folder: Any, qwen3: Tokenizer) -> LiveServer:
    """A Qwen3 that calls twice, and says a text the next time."""
    scripts = [qwen3.encode(text) for text in (CALLING, TEXT)]
    engine = {"kind": "replay", "mode": "scripts", "scripts": scripts, "step_ms": 1.0, "forms": "play"}
    return serve({"model": str(qwen3_folder), "engine": engine})


@pytest.fixture(scope="module")
def shim(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(server, tmp_path_factory.mktemp("shim")) as shim:
        yield shim


@pytest.fixture
def client(shim: LiveShim) -> Iterator[OpenAI]:
    """Its next answer is the one with the calls."""
    with OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client:
        for _ in range(2):
            if TEXT in client.responses.create(model=MODEL, input="hi").output_text:
                break
        yield client


def calls_of(response: Any) -> list[tuple[str, Any]]:
    return [(i.name, json.loads(i.arguments)) for i in response.output if i.type == "function_call"]


def test_a_tool_round(client: OpenAI) -> None:
    """Whole: thinking, text, calls; what came goes back, and the prompt grows by it."""
    history: list[Any] = [{"role": "user", "content": "How is the weather?"}]
    first = client.responses.create(model=MODEL, input=history, tools=TOOLS, store=False)
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "function_call"]
    assert (calls_of(first), first.output_text, first.status) == (CALLS, "Let me see.", "completed")
    thinking: Any = first.output[0]
    assert thinking.content[0].text == THINKING
    history += first.output
    history += [
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
        for item in first.output
        if item.type == "function_call"
    ]
    second = client.responses.create(model=MODEL, input=history, tools=TOOLS)
    assert (second.output_text, second.store) == (TEXT, False)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert first.usage.output_tokens_details.reasoning_tokens > 5


def test_streamed(client: OpenAI) -> None:
    """The package's own helper puts the events together."""
    with client.responses.stream(model=MODEL, input="How is the weather?", tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (calls_of(final), final.output_text) == (CALLS, "Let me see.")
    assert kinds.count("response.function_call_arguments.delta") > len(CALLS)
    assert kinds.count("response.reasoning_text.delta") >= 1
    with client.responses.stream(model=MODEL, input="And now?") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
    assert "".join(texts) == TEXT
    assert not any("�" in text for text in texts)


def test_parsed(client: OpenAI) -> None:
    """Arguments of a call as the class that its tool was made from."""

    class Weather(BaseModel):
        """The weather of a city."""

        city: str

    function = pydantic_function_tool(Weather, name="get_weather")["function"]
    tool: Any = {"type": "function", **function}
    found = client.responses.parse(model=MODEL, input="How is the weather?", tools=[tool])
    assert calls_of(found) == CALLS


def test_cut_and_refused(client: OpenAI) -> None:
    """Incomplete at max_output_tokens; errors are the package's."""
    cut = client.responses.create(model=MODEL, input="hi", max_output_tokens=4)
    assert (cut.status, cut.usage and cut.usage.output_tokens) == ("incomplete", 4)
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    with pytest.raises(openai.BadRequestError, match="maximum context length is 32768 tokens"):
        client.responses.create(model=MODEL, input="word " * 40_000)
    with pytest.raises(openai.BadRequestError, match="nothing is stored here"):
        client.responses.create(model=MODEL, input="hi", previous_response_id="resp_1")
    with pytest.raises(openai.NotFoundError, match="stores none"):
        client.responses.retrieve("resp_1")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_litellm(client: OpenAI, shim: LiveShim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its door to this API, whole and streamed."""
    del client
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = import_module("litellm")
    where = {"model": f"openai/{MODEL}", "api_base": shim.v1, "api_key": "none", "input": "How is the weather?"}
    assert calls_of(litellm.responses(**where, tools=TOOLS)) == CALLS
    events = list(litellm.responses(**where, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == TEXT


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_agents(client: OpenAI, shim: LiveShim, way: str) -> None:
    """openai-agents with its defaults: both calls run, their results go back, the text is the end."""
    del client
    python = tool_environment("openai-agents-0.24.0", AGENTS) / "bin" / "python"
    program = ROOT / "tests" / "support" / "live" / "agents_sdk.py"
    done = subprocess.run(
        [python, program, shim.v1, MODEL, way], capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (sorted(found["asked"]), found["final"]) == (["Paris", "北京"], TEXT)
    assert found["items"].count("tool_call_output_item") == 2


def running(server: LiveServer) -> int:
    return int(server.engine_counters()["running"])


def test_who_leaves_a_stream_frees_its_slot(client: OpenAI, server: LiveServer) -> None:
    """With ignore_eos the answer would go on to the end of the context, half a minute."""
    stream = client.responses.create(model=MODEL, input="hi", stream=True, extra_body={"ignore_eos": True})
    assert next(iter(stream)).type == "response.created"
    assert running(server) == 1
    stream.close()
    until = time.monotonic() + 10
    while running(server) and time.monotonic() < until:
        time.sleep(0.05)
    assert running(server) == 0
