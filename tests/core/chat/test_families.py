"""Templates of Qwen's families: whether the answer opens in thinking, how it calls tools, and how past calls are told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.chat.deltas import Content, Delta, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader, opens_thinking
from qwen_triton.chat.template import ChatTemplate
from qwen_triton.errors import InvalidRequest
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import ToolChoice
from tests.support.chat_conversations import assistant, tool, user
from tests.support.chat_templates import FAMILIES, JSON_FAMILIES, XML_FAMILIES, family_templates

ASK: list[dict[str, Any]] = [user("Hi")]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "none": {"type": ["integer", "null"]},
        "list": {"type": "array"},
        "more": {"type": "object"},
        "文字": {"type": "string"},
    },
}
TOOL = {"type": "function", "function": {"name": "save", "parameters": SCHEMA}}
OTHER = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="session")
def families(qwen_folder: Path, qwen25: Tokenizer, qwen3: Tokenizer) -> Mapping[str, ChatTemplate]:
    return family_templates(qwen_folder, qwen25, qwen3)


THINKING: list[tuple[str, dict[str, Any], bool | None]] = [
    # family, options, whether the answer begins in thinking; None: refused
    ("qwen2.5", {}, False),
    ("qwen2.5", {"enable_thinking": False}, False),
    ("qwen2.5", {"enable_thinking": True}, None),
    ("qwen3", {}, False),  # the model opens it by itself
    ("qwen3", {"enable_thinking": True}, False),
    ("qwen3", {"enable_thinking": False}, False),
    ("qwen3-instruct-2507", {}, False),
    ("qwen3-instruct-2507", {"enable_thinking": False}, False),
    ("qwen3-instruct-2507", {"enable_thinking": True}, None),
    ("qwen3-thinking-2507", {}, True),
    ("qwen3-thinking-2507", {"enable_thinking": True}, True),
    ("qwen3-thinking-2507", {"enable_thinking": False}, None),
    ("qwen3-coder", {}, False),
    ("qwen3-coder", {"enable_thinking": False}, False),
    ("qwen3-coder", {"enable_thinking": True}, None),
    ("qwen3.5-think", {}, True),
    ("qwen3.5-think", {"enable_thinking": True}, True),
    ("qwen3.5-think", {"enable_thinking": False}, False),
    ("qwen3.5-nothink", {}, False),
    ("qwen3.5-nothink", {"enable_thinking": True}, True),
    ("qwen3.5-nothink", {"enable_thinking": False}, False),
    ("qwen3.6", {}, True),
    ("qwen3.6", {"enable_thinking": False}, False),
    ("qwen3.8", {}, True),
    ("qwen3.8", {"enable_thinking": False}, False),
]


@pytest.mark.parametrize(("family", "options", "opened"), THINKING)
def test_whether_an_answer_opens_in_thinking_is_asked_of_the_prompt(
    families: Mapping[str, ChatTemplate], qwen3: Tokenizer, family: str, options: dict[str, Any], opened: bool | None
) -> None:
    """A choice that the template does not read is taken where the prompt is so anyway, and refused where it is not."""
    template = families[family]
    if opened is None:
        with pytest.raises(InvalidRequest) as caught:
            template.encode(ASK, (), options)
        assert caught.value.field == "chat_template_kwargs.enable_thinking"
        return
    prompt = template.render(ASK, (), options)
    assert opens_thinking(qwen3.encode(prompt, control_tokens=True), qwen3) is opened
    assert prompt.endswith("<think>\n") is opened


@pytest.mark.parametrize("family", FAMILIES)
def test_the_format_of_calls_is_found_in_the_template(families: Mapping[str, ChatTemplate], family: str) -> None:
    """Which teaches one of them."""
    found = families[family].tool_format
    assert found is not None
    assert found.name == ("hermes" if family in JSON_FAMILIES else "qwen3_coder")


UNKNOWN = [
    # a template that shows tools, the format that is found in it
    ("{{ tools }}", None),
    ("{{ tools }}<tool_call>NAME\n<arg_key>KEY</arg_key></tool_call>", None),
    ("{{ tools }}{# <function=NAME> #}", None),
    ("{{ tools }}{{ '<tool_call>{\"name\": ' }}", "hermes"),
    ("{{ tools }}<tool_call>{'name': NAME}", "hermes"),
    ("{{ tools }}{% for c in calls %}{{ '<function=' + c.name + '>' }}{% endfor %}", "qwen3_coder"),
    ('{{ tools }}{# <function= #}<tool_call>{"name": NAME}', "hermes"),
]


@pytest.mark.parametrize(("source", "name"), UNKNOWN)
def test_a_template_that_teaches_neither_takes_no_tools(qwen3: Tokenizer, source: str, name: str | None) -> None:
    """Its calls would come out as text. The deployment may name the format."""
    template = ChatTemplate(qwen3, {"default": source}, {})
    assert (template.tool_format.name if template.tool_format else None) == name
    if name is None:
        with pytest.raises(InvalidRequest, match=r"openai\.tool_format to hermes or qwen3_coder") as caught:
            template.render(ASK, [TOOL])
        assert caught.value.field == "tools"
    assert template.render(ASK, [TOOL], {}, ToolChoice("none")).startswith("None")
    for setting in ("hermes", "qwen3_coder"):
        named = ChatTemplate(qwen3, {"default": source}, {}, setting)  # type: ignore[arg-type]  # one of the two
        assert named.tool_format is not None
        assert named.tool_format.name == setting
        assert named.render(ASK, [TOOL])


CHOICES = (ToolChoice("required"), ToolChoice("named", "save"))


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.mode)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_forced_call_is_begun_in_the_template_s_format(
    families: Mapping[str, ChatTemplate], qwen25: Tokenizer, qwen3: Tokenizer, family: str, choice: ToolChoice
) -> None:
    """Outside of thinking, and where a token of the model's own text ends."""
    xml = family in XML_FAMILIES
    named = choice.mode == "named"
    begun = {
        (False, False): '<tool_call>\n{"name":',
        (False, True): '<tool_call>\n{"name": "save", "arguments":',
        (True, False): "<tool_call>\n<function",
        (True, True): "<tool_call>\n<function=save>\n",
    }[xml, named]
    prompt = families[family].render(ASK, [TOOL, OTHER], {}, choice)
    assert prompt.endswith(begun)
    assert prompt.removesuffix(begun).endswith(("<|im_start|>assistant\n", "<think>\n\n</think>\n\n"))
    tokenizer = qwen25 if family == "qwen2.5" else qwen3
    ids = tokenizer.encode(prompt, control_tokens=True)
    for written in _written("save", {"text": "a"}, xml), _written("save", {}, xml):
        whole = tokenizer.encode(prompt.removesuffix(begun) + written, control_tokens=True)
        assert written.startswith(begun)
        assert whole[: len(ids)] == ids


def _written(name: str, arguments: Mapping[str, str], xml: bool) -> str:
    """A call as the model writes it by itself."""
    if not xml:
        return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"


def read_calls(deltas: list[Delta]) -> list[tuple[str, str]]:
    """Name and arguments of each call; there is no content."""
    assert not any(isinstance(delta, Content) for delta in deltas)
    return [
        (d.name, "".join(a.text for a in deltas if isinstance(a, ToolCallArguments) and a.index == d.index))
        for d in deltas
        if isinstance(d, ToolCallStart)
    ]


def answered(template: ChatTemplate, calls: list[tuple[str, str]]) -> str:
    """The assistant's turn as the template writes it, with these calls of JSON text."""
    past = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in calls]
    turns = [user("Hi"), assistant("", tool_calls=past), tool("ok"), user("And?")]
    prompt = template.render(turns, [TOOL, OTHER])
    turn = prompt.split("<|im_start|>assistant\n")[1].split("<|im_end|>")[0]
    return turn.removeprefix("<think>\n\n</think>\n\n")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=20) | st.sampled_from(
    ["", "\n", " \n a\n\n", "02134", "3", "true", "null", "None", "{}", "[1]", "北京 🌆", '"q"', "a </parameter> b",
     "a <b> </function> c", "x </tool_call> y", "see <parameter=text>", "\\n", "\r", "\u2028", "{'a': 1}"]
)  # fmt: skip
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXT,
        "count": st.integers(),
        "share": NUMBER,
        "sure": st.booleans(),
        "none": st.none() | st.integers(),
        "list": st.lists(JSON, max_size=3),
        "more": st.dictionaries(TEXT, JSON, max_size=3),
        "文字": TEXT,
    },
)
CALLS = st.lists(st.tuples(st.just("save"), ARGUMENTS) | st.just(("clock", dict[str, Any]())), min_size=1, max_size=3)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(calls=CALLS, data=st.data())
def test_what_is_read_is_written_again(
    families: Mapping[str, ChatTemplate], family: str, calls: list[tuple[str, Any]], data: st.DataObject
) -> None:
    """Calls in a history, as the template writes them, are read as these calls, whatever their values and the cuts."""
    template = families[family]
    text = answered(template, [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls])
    assert template.tool_format is not None
    reader = ChatReader(tools=template.tool_format.for_tools([TOOL, OTHER]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = read_calls([delta for piece in pieces for delta in reader.feed(piece)] + reader.end("stop"))
    assert [(name, json.loads(arguments)) for name, arguments in found] == calls
    assert reader.finish_reason("stop") == "tool_calls"
    assert answered(template, found) == text


BROKEN = ['{"old": "say "yes" now"}}', '{"text": "Os', "\\(", '{"a": 1,}', "[1]", "", "   ", '"a"']


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("family", FAMILIES)
def test_arguments_that_are_no_object_are_shown(
    families: Mapping[str, ChatTemplate], family: str, arguments: str
) -> None:
    """A template that goes through them by name gets an object that holds the text."""
    text = answered(families[family], [("save", arguments)])
    assert "save" in text
    if family in XML_FAMILIES and arguments.strip():
        assert f"<parameter=arguments>\n{arguments}\n</parameter>" in text
    else:
        shown = arguments.strip()
        assert (json.dumps(shown)[1:-1] if family == "qwen2.5" else shown) in text
