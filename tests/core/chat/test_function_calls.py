"""Conformance of both readers of calls: every call of the Berkeley set's ground truth comes back, streamed in pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from qwen_triton.chat.deltas import Content, Delta, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader
from qwen_triton.chat.template import ChatTemplate
from qwen_triton.chat.tool_formats.tool_format import ToolFormat
from qwen_triton.chat.tool_formats.untold import UNTOLD
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.chat_conversations import assistant, tool, user
from tests.support.chat_templates import family_templates
from tests.support.function_calls import CallCase, call_cases


@pytest.fixture(scope="module")
def cases(qwen_folder: Path) -> list[CallCase]:
    """2,501 questions with 3,302 calls: several at once, nested values, Chinese, numbers as text."""
    found = list(call_cases(qwen_folder / "bfcl"))
    assert (len(found), sum(len(case.calls) for case in found)) == (2501, 3302)
    return found


@pytest.fixture(scope="module")
def families(qwen_folder: Path, qwen25: Tokenizer, qwen3: Tokenizer) -> Mapping[str, ChatTemplate]:
    return family_templates(qwen_folder, qwen25, qwen3)


def written(template: ChatTemplate, case: CallCase) -> str:
    """The answer with the case's calls, as the template writes it."""
    past = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in case.calls]
    prompt = template.render([user("?"), assistant("", tool_calls=past), tool("ok"), user("!")])
    return prompt.split("<|im_start|>assistant\n")[1].split("<|im_end|>")[0]


def read(tool_format: ToolFormat, text: str, draw: Random) -> list[Delta]:
    """What is read of a text in random pieces."""
    reader = ChatReader(tools=tool_format)
    deltas: list[Delta] = []
    while text:
        size = draw.choice((1, 2, 3, 5, 8, 30, 200))
        deltas += reader.feed(text[:size])
        text = text[size:]
    deltas += reader.end("stop")
    assert reader.finish_reason("stop") == "tool_calls"
    return deltas


def arguments_of(deltas: list[Delta], index: int) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, ToolCallArguments) and delta.index == index)


RUNS = [("qwen3", True, 1), ("qwen3.6", True, 1), ("qwen3-coder", True, 5), ("qwen3", False, 5), ("qwen3.6", False, 5)]
"""Family, whether the reader is told its format, and each how many-th case is read."""


@pytest.mark.parametrize(("family", "told", "step"), RUNS)
def test_every_call_of_the_ground_truth_comes_back(
    families: Mapping[str, ChatTemplate], cases: list[CallCase], family: str, told: bool, step: int
) -> None:
    """With its name, and its arguments of the right types; also where nobody tells the format."""
    template, draw = families[family], Random(family)
    assert template.tool_format is not None
    taught = template.tool_format if told else UNTOLD
    for case in cases[::step]:
        deltas = read(taught.for_tools(case.tools), written(template, case), draw)
        calls = [(d.name, json.loads(arguments_of(deltas, d.index))) for d in deltas if isinstance(d, ToolCallStart)]
        assert calls == case.calls, case.name
        assert not any(isinstance(delta, Content) for delta in deltas)
