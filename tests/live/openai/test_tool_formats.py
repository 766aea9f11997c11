"""Calls in XML on a real server: found by the checkpoint's template, told by the BLS, read by shim and client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton_client.session import Session
from tests.live.conftest import Serve
from tests.support.chat_conversations import assistant, tool, user
from tests.support.folders import DATA
from tests.support.function_calls import CallCase, call_cases
from tests.support.live.client import Refused, generate
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

USER: Any = [{"role": "user", "content": "Look."}]
PROSE = "I look."


@pytest.fixture(scope="module")
def case(qwen_folder: Path) -> CallCase:
    """40 questions in one: all their tools, which have different names, and all their calls."""
    tools: dict[str, dict[str, Any]] = {}
    calls: list[tuple[str, dict[str, Any]]] = []
    for each in list(call_cases(qwen_folder / "bfcl"))[::61]:
        own = {tool["function"]["name"]: tool for tool in each.tools}
        if tools.keys().isdisjoint(own):
            tools |= own
            calls += each.calls
    return CallCase("40", list(tools.values()), calls)


@pytest.fixture(scope="module")
def server(
    serve: Serve, qwen3: Tokenizer, qwen3_folder: Path, case: CallCase, tmp_path_factory: pytest.TempPathFactory
) -> LiveServer:
    """A checkpoint with the template of Qwen3-Coder, which answers with the calls of all questions."""
    folder = tmp_path_factory.mktemp("coder") / "checkpoint"
    shutil.copytree(qwen3_folder, folder)
    shutil.copy(DATA / "templates" / "qwen3_coder.jinja", folder / "chat_template.jinja")
    past = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in case.calls]
    turns = [user("?"), assistant(PROSE, tool_calls=past), tool("ok"), user("!")]
    prompt = ChatTemplate.from_folder(folder, qwen3).render(turns)
    script = prompt.split("<|im_start|>assistant\n")[1].split("<|im_end|>")[0]
    engine = {"kind": "replay", "mode": "scripts", "scripts": [qwen3.encode(script)], "tokens_per_step": 7}
    engine["max_context"] = 40_960  # the checkpoint's, which the ensemble's preprocessing fills
    return serve({"model": str(folder), "engine": engine})


@pytest.fixture(scope="module")
def client(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with (
        shimming(server, tmp_path_factory.mktemp("shim")) as shim,
        OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("parallel", [True, False])
def test_openai_s_clients_get_every_call(client: OpenAI, case: CallCase, stream: bool, parallel: bool) -> None:
    """Or the first one alone, where the request asks for no more."""
    sent: Any = {"model": MODEL, "messages": USER, "tools": case.tools, "parallel_tool_calls": parallel}
    if stream:
        with client.chat.completions.stream(**sent) as events:
            found: Any = events.get_final_completion().choices[0]
    else:
        found = client.chat.completions.create(**sent).choices[0]
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in found.message.tool_calls]
    assert calls == (case.calls if parallel else case.calls[:1])
    assert (found.message.content, found.finish_reason) == (PROSE, "tool_calls")


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_our_client_reads_the_format_that_it_is_told(server: LiveServer, case: CallCase, model: str) -> None:
    """The ensemble tells none; then it is the one that the calls show."""
    with Session(server.grpc, model) as session:
        found = session.chat(USER, tools=case.tools)
    assert [(call.name, json.loads(call.arguments)) for call in found.tool_calls] == case.calls
    assert (found.content, found.finish_reason) == (PROSE, "tool_calls")


def test_the_bls_tells_the_format_of_a_chat_with_tools(server: LiveServer, case: CallCase) -> None:
    """Of no other; a choice that does not fit the tools is refused by its name on both ways in."""
    chat = {"messages": json.dumps(USER), "max_tokens": 3}
    tools = json.dumps(case.tools[:1])
    assert generate(server, BLS, **chat, tools=tools)["tool_format"] == "qwen3_coder"
    assert "tool_format" not in generate(server, BLS, **chat)
    named = json.dumps({"type": "function", "function": {"name": "no_such"}})
    for model in (BLS, ENSEMBLE):
        with pytest.raises(Refused, match="tool_choice: names a function that is not in tools"):
            generate(server, model, **chat, tools=tools, tool_choice=named)
        with pytest.raises(Refused, match="tool_choice: only with tools"):
            generate(server, model, **chat, tool_choice="required")
