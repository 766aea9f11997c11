"""Calls in Qwen3-Coder's XML: what is a call, where its values end, how they are typed, whatever the cuts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.chat.deltas import Content, Delta, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader
from qwen_triton.chat.tool_calls import ToolCallParser
from qwen_triton.chat.tool_formats.qwen3_coder import QWEN3_CODER, Qwen3CoderBlock
from qwen_triton.chat.tool_formats.tool_format import BlockState, ToolFormat
from tests.support.broken_answers import random_answers

Part = str | tuple[str, str]
PROPERTIES: dict[str, Any] = {
    "a": {"type": "string"},
    "b": {"type": "string"},
    "n": {"type": "integer"},
    "list": {"type": "array"},
    "flag": {"type": "boolean"},
    "maybe": {"type": ["string", "null"]},
}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": PROPERTIES}}}
G = {"name": "g"}
FORMAT = QWEN3_CODER.for_tools([F, G])


def parse(pieces: Iterable[str], *, cut: bool = False, begun: str = "", single: bool = False) -> list[Part]:
    """The answer's parts in order: content as text, a call as (name, arguments)."""
    parser = ToolCallParser(FORMAT, begun=begun, single=single)
    return parts_of([delta for piece in pieces for delta in parser.feed(piece)] + parser.flush(cut))


def parts_of(deltas: list[Delta]) -> list[Part]:
    parts: list[Part] = []
    for delta in deltas:
        last = parts[-1] if parts else None
        if isinstance(delta, Content):
            parts[len(parts) - isinstance(last, str) :] = [(last if isinstance(last, str) else "") + delta.text]
        elif isinstance(delta, ToolCallStart):
            assert delta.index == sum(isinstance(part, tuple) for part in parts)
            parts.append((delta.name, ""))
        else:
            assert isinstance(delta, ToolCallArguments)
            assert isinstance(last, tuple)
            assert delta.text
            parts[-1] = (last[0], last[1] + delta.text)
    return parts


def parameter(name: str, value: str) -> str:
    return f"<parameter={name}>\n{value}\n</parameter>\n"


def function(*parameters: str, name: str = "f") -> str:
    return f"<function={name}>\n{''.join(parameters)}</function>"


def block(*parameters: str, name: str = "f") -> str:
    return f"<tool_call>\n{function(*parameters, name=name)}\n</tool_call>"


OSLO = parameter("a", "Oslo")
CALL = ("f", '{"a": "Oslo"}')
NONE = ("f", "{}")

QUOTED = f"Write\n{block(OSLO, parameter('b', 'x'))}\nto call it."
HERMES_CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'

TABLE: list[tuple[str, list[Part]]] = [
    (block(OSLO), [CALL]),
    (block(), [NONE]),
    (block(name="g"), [("g", "{}")]),
    ("Just text with a < and a <tool>, <function> and <parameter=a>.",
     ["Just text with a < and a <tool>, <function> and <parameter=a>."]),
    # text around calls is content, blanks around them are not
    (f"Let me see.\n\n{block(OSLO)}", ["Let me see.", CALL]),
    (f"{block(OSLO)}\n{block()}\n", [CALL, NONE]),
    (f"a \n{block(OSLO)} b\n{block()}c", ["a", CALL, "b", NONE, "c"]),
    # values by the schema
    (block(parameter("a", "02134"), parameter("n", "007")), [("f", '{"a": "02134", "n": 7}')]),
    (block(parameter("list", "[1, 'x', None]"), parameter("flag", "True")),
     [("f", '{"list": [1, "x", null], "flag": true}')]),
    (block(parameter("maybe", "null"), parameter("a", "null")), [("f", '{"maybe": null, "a": "null"}')]),
    (block(parameter("n", "many"), parameter("x", "5")), [("f", '{"n": "many", "x": "5"}')]),
    (block(parameter("a", "5"), name="h"), [("h", '{"a": "5"}')]),
    # a text is kept, but for a line end on each side
    (block(parameter("a", "\n x\n\ty \n")), [("f", '{"a": "\\n x\\n\\ty \\n"}')]),
    (block(parameter("a", "")), [("f", '{"a": ""}')]),
    (block(parameter("a", "\n")), [("f", '{"a": "\\n"}')]),
    (block(parameter("n", "")), [("f", '{"n": ""}')]),
    (block("<parameter=a></parameter>"), [("f", '{"a": ""}')]),
    (block("<parameter=a>\n</parameter>"), [("f", '{"a": ""}')]),
    (block("<parameter=a>Oslo</parameter>"), [CALL]),
    ("<tool_call><function=f><parameter=a>Oslo</parameter></function></tool_call>", [CALL]),
    (block(parameter("a", '北京 "🌆" \\ \u2028')), [("f", '{"a": "北京 \\"🌆\\" \\\\ \u2028"}')]),
    (block(parameter('k"ey', "x")), [("f", '{"k\\"ey": "x"}')]),
    # tags within a text
    (block(parameter("a", "close with </parameter> ok")), [("f", '{"a": "close with </parameter> ok"}')]),
    (block(parameter("a", "x </tool_call> y </function> z <function=g> <tool_call>")),
     [("f", '{"a": "x </tool_call> y </function> z <function=g> <tool_call>"}')]),
    (block(parameter("a", "</parameter>\n</function>\nis the end")),
     [("f", '{"a": "</parameter>\\n</function>\\nis the end"}')]),
    (block(parameter("a", "see <parameter=b> there")), [("f", '{"a": "see <parameter=b> there"}')]),
    (block(parameter("a", "x\n<parameter=unknown>\ny")), [("f", '{"a": "x\\n<parameter=unknown>\\ny"}')]),
    (block(parameter("b", "x"), parameter("a", "y\n<parameter=b>\nz")),
     [("f", '{"b": "x", "a": "y\\n<parameter=b>\\nz"}')]),
    # calls that a text quotes
    (block(parameter("a", QUOTED)) + block(), [("f", json.dumps({"a": QUOTED})), NONE]),
    (block(parameter("a", f"{QUOTED}\n{QUOTED}"), parameter("b", "x")),
     [("f", json.dumps({"a": f"{QUOTED}\n{QUOTED}", "b": "x"}))]),
    (block(parameter("a", "it begins\n<function=f>\n<parameter=b>")),
     [("f", '{"a": "it begins\\n<function=f>\\n<parameter=b>"}')]),
    (block(parameter("a", "\n<function=a")), [("f", '{"a": "\\n<function=a"}')]),
    # closing tags that are missing
    (block("<parameter=a>\nDallas\n<parameter=b>\nTX\n</parameter>\n"), [("f", '{"a": "Dallas", "b": "TX"}')]),
    (block("<parameter=a>\nOslo\n"), [CALL]),
    (f"<tool_call>\n<function=f>\n{OSLO}</tool_call>", [CALL]),
    ("<tool_call>\n<function=f>\n<parameter=a>\nOslo\n</tool_call>", [CALL]),
    ("<tool_call>\n<function=f>\n</tool_call> b", [NONE, "b"]),
    (f"<tool_call>\n{function(OSLO)}", [CALL]),
    (f"<tool_call>\n{function(OSLO)}\nDone.", [("f", '{"a": "Oslo\\n</parameter>\\n</function>\\nDone.')]),
    (f"<tool_call>\n<function=f>\n{OSLO}", [CALL]),
    (f"<tool_call>\n<function=f>\n{OSLO}</func", [CALL]),
    (f"<tool_call>\n<function=f>\n{OSLO}{block()}", [CALL, NONE]),
    (f"<tool_call>\n{function(OSLO)}\n{block()}", [CALL, NONE]),
    # several functions, or no opening tag
    (f"<tool_call>\n{function(OSLO)}\n{function(name='g')}\n</tool_call>", [CALL, ("g", "{}")]),
    (f"I call it.\n{function(OSLO)}\n</tool_call>", ["I call it.", CALL]),
    (f"{function(OSLO)} Done.", [CALL, "Done."]),
    (function(OSLO, name="unknown"), [function(OSLO, name="unknown")]),
    # no calls: content, word for word
    ("<tool_call>\n<function=f>\n", ["<tool_call>\n<function=f>\n"]),
    ("<tool_call>\n<function=f", ["<tool_call>\n<function=f"]),
    ("<tool_call>\n<function=f>\nhello", ["<tool_call>\n<function=f>\nhello"]),
    ("<tool_call>\n<function=>\n</function>", ["<tool_call>\n<function=>\n</function>"]),
    (HERMES_CALL, [HERMES_CALL]),
    ("a <function=f> b", ["a <function=f> b"]),
    ("a <tool_ca", ["a <tool_ca"]),
    (f"<tool_call>{block(OSLO)}", ["<tool_call>", CALL]),
    ("<function=" + "x" * 600 + ">\n</function>", ["<function=" + "x" * 600 + ">\n</function>"]),
    (f"<tool_call>{' ' * 300}{function()}", [f"<tool_call>{' ' * 300}".rstrip(), NONE]),
    # a call whose text breaks
    (block("<parameter=>\nx\n</parameter>"), [("f", "<parameter=>\nx\n</parameter></function>\n")]),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "parts"), TABLE)
def test_table_at_every_cut(answer: str, parts: list[Part]) -> None:
    """Whole, in two at every place, and character by character."""
    for at in range(len(answer) + 1):
        assert parse([answer[:at], answer[at:]]) == parts, at
    assert parse(answer) == parts


CUT: list[tuple[str, list[Part], int]] = [
    # an answer that did not end by itself, its parts, how many calls are complete
    (block(OSLO), [CALL], 1),
    (f"<tool_call>\n{function(OSLO)}", [CALL], 1),
    (f"<tool_call>\n<function=f>\n{OSLO}", [("f", '{"a": "Oslo"')], 0),
    (f"<tool_call>\n<function=f>\n{OSLO}<para", [("f", '{"a": "Oslo"')], 0),
    (f"<tool_call>\n<function=f>\n{OSLO}<parameter=b", [("f", '{"a": "Oslo"')], 0),
    (f"<tool_call>\n<function=f>\n{OSLO}<parameter=b>", [("f", '{"a": "Oslo", "b": "')], 0),
    ("<tool_call>\n<function=f>\n<parameter=a>\nOs", [("f", '{"a": "Os')], 0),
    ("<tool_call>\n<function=f>\n<parameter=a>\nOslo\n</par", [("f", '{"a": "Oslo')], 0),
    ("<tool_call>\n<function=f>\n<parameter=list>\n[1, 2", [("f", '{"list": [1, 2')], 0),
    (f"{block(OSLO)}\n<tool_call>\n<func", [CALL, "<tool_call>\n<func"], 1),
]


@pytest.mark.parametrize(("answer", "parts", "complete"), CUT)
def test_a_call_that_was_cut_is_left_open(answer: str, parts: list[Part], complete: int) -> None:
    """Its JSON as well, so that nobody takes it for the call that was meant."""
    for at in range(len(answer) + 1):
        assert parse([answer[:at], answer[at:]], cut=True) == parts, at
    reader = ChatReader(tools=FORMAT)
    assert parts_of(reader.feed(answer) + reader.end("length")) == parts
    assert reader.finish_reason("length") == "length"
    parser = ToolCallParser(FORMAT)
    parser.feed(answer)
    parser.flush(cut=True)
    assert parser.complete == complete


def test_a_value_that_a_stop_cuts_is_left_open() -> None:
    """A stop string within it is an end by itself, but the call is not complete."""
    reader = ChatReader(tools=FORMAT)
    deltas = reader.feed("<tool_call>\n<function=f>\n<parameter=a>\nThought: ") + reader.end("stop")
    assert parts_of(deltas) == [("f", '{"a": "Thought: ')]
    assert reader.finish_reason("stop") == "stop"


def test_deltas_come_as_early_as_they_can() -> None:
    """A text as it comes, but for a tag it may begin; other values when they are complete."""
    parser = ToolCallParser(FORMAT)
    assert parser.feed("Hm\n<tool_call>\n<function=f>\n") == [Content("Hm")]
    assert parser.feed("<parameter=") == [ToolCallStart(0, "f")]
    assert parser.feed("a>\nOs") == [ToolCallArguments(0, '{"a": "Os')]
    assert parser.feed("lo <") == [ToolCallArguments(0, "lo ")]
    assert parser.feed("b>\n") == [ToolCallArguments(0, "<b>")]
    assert parser.feed("</parameter>\n") == []
    assert parser.feed("<parameter=n") == [ToolCallArguments(0, '"')]
    assert parser.feed(">\n1") == [ToolCallArguments(0, ', "n": ')]
    assert parser.feed("2\n</parameter>\n</function>\n") == []
    assert parser.feed("</tool_call>") == [ToolCallArguments(0, "12}")]
    assert parser.feed("\nDone") == [Content("Done")]
    assert (parser.calls, parser.complete) == (1, 1)


THINKING: list[tuple[str, str, str, list[Part], str]] = [
    # answer, how it ended, thinking, the other parts, finish reason
    (f"I should look.\n{block(OSLO)}", "stop", "I should look.", [CALL], "tool_calls"),
    (f"Perhaps\n{block(OSLO)}\nor not.", "stop", f"Perhaps\n{block(OSLO)}\nor not.", [], "stop"),
    (f"Perhaps\n{block(OSLO)}\n</think>\n\nHi", "stop", f"Perhaps\n{block(OSLO)}", ["Hi"], "stop"),
    (f"{block(OSLO)}</think>\n\n{block()}", "stop", block(OSLO), [NONE], "tool_calls"),
    (f"Look.\n{block(OSLO)}", "length", f"Look.\n{block(OSLO)}", [], "length"),
    ("<tool_call>\n<function=f>\n<parameter=a>\nx</think>Hi", "stop", "<tool_call>\n<function=f>\n<parameter=a>\nx",
     ["Hi"], "stop"),
    (f"I call {function(OSLO)}", "stop", "I call ", [CALL], "tool_calls"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "finish", "thinking", "parts", "reason"), THINKING)
def test_calls_in_the_thinking_at_every_cut(
    answer: str, finish: Any, thinking: str, parts: list[Part], reason: str
) -> None:
    """The last thing of an answer is a call, and what is followed by more is a draft."""
    for at in range(len(answer) + 1):
        reader = ChatReader(True, FORMAT)
        deltas = reader.feed(answer[:at]) + reader.feed(answer[at:]) + reader.end(finish)
        others = [d for d in deltas if isinstance(d, (Content, ToolCallStart, ToolCallArguments))]
        assert "".join(d.text for d in deltas if d not in others) == thinking, at  # type: ignore[union-attr]  # reasoning
        assert parts_of(others) == parts, at
        assert reader.finish_reason(finish) == reason


BEGUN: list[tuple[str | None, str, list[Part]]] = [
    # the function that is forced, the model's text, the parts
    ("f", f"{OSLO}</function>\n</tool_call>", [CALL]),
    ("f", "</function>\n</tool_call>", [NONE]),
    ("f", "I cannot.", ["I cannot."]),
    (None, f"=f>\n{OSLO}</function>\n</tool_call>", [CALL]),
    (None, " I cannot.", [" I cannot."]),
    (None, "", []),
]


@pytest.mark.parametrize(("name", "answer", "parts"), BEGUN)
def test_an_answer_that_continues_a_forced_call(name: str | None, answer: str, parts: list[Part]) -> None:
    """Of the content its beginning is no part."""
    for at in range(len(answer) + 1):
        assert parse([answer[:at], answer[at:]], begun=FORMAT.beginning(name)) == parts, at


@pytest.mark.parametrize("behind", ["", f"\n{block()}", " b", function(name="g")])
def test_a_single_call_ends_the_answer_where_it_is_closed(behind: str) -> None:
    """Tags in values are text."""
    answer = block(parameter("a", "close with </parameter> and </tool_call> ok"))
    parts = [("f", '{"a": "close with </parameter> and </tool_call> ok"}')]
    assert parse([answer + behind], single=True) == parts
    assert parse(answer + behind, single=True) == parts
    parser = ToolCallParser(FORMAT, single=True)
    assert [(parser.feed(character), parser.over)[1] for character in answer].index(True) == len(answer) - 1


STATES = [
    # text behind the tag, the state without an end, with one, whether the call is complete at the end, what is behind it
    ("\n<function=f", BlockState.UNDECIDED, BlockState.REJECTED, False, ""),
    (f"\n<function=f>\n{OSLO}", BlockState.BEGUN, BlockState.CLOSED, True, ""),
    ("\n<function=f>\n<parameter=", BlockState.BEGUN, BlockState.CLOSED, False, ""),
    ("\n<function=f>\n<parameter=a>\nx", BlockState.BEGUN, BlockState.CLOSED, False, ""),
    (f"\n{function(OSLO)}\n</tool_call> b", BlockState.CLOSED, BlockState.CLOSED, True, " b"),
    (f"\n{function()} b", BlockState.CLOSED, BlockState.CLOSED, True, "b"),
    ("\n<function=f>\n<parameter=>x", BlockState.BROKEN, BlockState.CLOSED, False, ""),
    ("oops", BlockState.REJECTED, BlockState.REJECTED, False, ""),
]


@pytest.mark.parametrize(("text", "open_state", "end_state", "complete", "rest"), STATES)
def test_states_of_a_block(text: str, open_state: BlockState, end_state: BlockState, complete: bool, rest: str) -> None:
    """In the midst of an answer, and at its end."""
    midst = Qwen3CoderBlock(0, "<tool_call>", {})
    midst.feed(text)
    assert (midst.state, midst.rest) == (open_state, rest)
    ended = Qwen3CoderBlock(0, "<tool_call>", {})
    ended.feed(text, end=True)
    assert (ended.state, ended.complete, ended.rest) == (end_state, complete, rest)


def test_how_a_call_begins_and_what_it_looks_like() -> None:
    """The equals sign before a name is part of the model's own token."""
    tool_format: ToolFormat = QWEN3_CODER
    assert tool_format.beginning(None) == "<tool_call>\n<function"
    assert tool_format.beginning("f") == "<tool_call>\n<function=f>\n"
    form = tool_format.form(F)
    assert (form.begin, form.arguments, form.end) == (
        "<tool_call>\n<function=f>\n",
        "qwen_xml",
        "\n</function>\n</tool_call>",
    )
    assert form.schema == F["function"]["parameters"]
    assert tool_format.form(G).schema == {"type": "object", "properties": {}}


FRAGMENTS = [
    "<tool_call>", "</tool_call>", "<function=f>", "<function=g>", "<function=", "</function>", "<parameter=a>",
    "<parameter=b>", "<parameter=n>", "<parameter=", "</parameter>", "\n", "\n", " ", ">", "<", "</", "a", "5", "[1]", "你",
    OSLO, function(), block(), block(OSLO, parameter("n", "7")), "<parameter=list>\n[1,", "{", '"', "\\",
]  # fmt: skip


ANSWERS = [answer for answer, *_ in [*TABLE, *CUT] if len(answer) < 400]


def test_the_cuts_do_not_matter() -> None:
    """6,000 answers, most of them broken: in pieces, whole, and character by character."""
    for number, pieces in enumerate(random_answers(ANSWERS, FRAGMENTS, 1, 6_000)):
        answer = "".join(pieces)
        how: dict[str, Any] = {"single": number % 2 == 1, "cut": number % 3 == 0}
        parts = parse([answer], **how)
        assert parse(pieces, **how) == parts, pieces
        assert parse(answer, **how) == parts, answer


def test_a_complete_call_is_always_an_object() -> None:
    """Its arguments parse, whatever the answer; those of a call that is not complete never do."""
    for number, pieces in enumerate(random_answers(ANSWERS, FRAGMENTS, 2, 6_000)):
        parser = ToolCallParser(FORMAT)
        parts = parts_of([d for piece in pieces for d in parser.feed(piece)] + parser.flush(cut=number % 2 == 1))
        calls = [part[1] for part in parts if isinstance(part, tuple)]
        assert sum(map(_is_object, calls)) == parser.complete, pieces


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def test_text_without_a_call_is_the_same_text() -> None:
    """Where no part is a call, the parts joined are the answer."""
    texts = [text for pieces in random_answers(ANSWERS, FRAGMENTS, 3, 6_000) if (text := "".join(pieces))]
    without = [text for text in texts if not any(isinstance(part, tuple) for part in parse([text]))]
    assert len(without) > 1000
    for text in without:
        assert parse([text]) == [text]


TAG = re.compile(r"</?(?:parameter|function|tool_call)")
VALUE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda text: not TAG.search(text))


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(
        st.fixed_dictionaries({}, optional={"a": VALUE, "b": VALUE, "maybe": VALUE}), min_size=1, max_size=3
    ),
    data=st.data(),
)
def test_any_texts_come_out_as_they_went_in(values: list[dict[str, str]], data: st.DataObject) -> None:
    """Character for character, in random pieces; a text that may be null is null where it says so."""
    answer = "\n".join(block(*(parameter(key, value) for key, value in one.items())) for one in values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    parts = parse([answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)])
    meant = [{k: None if k == "maybe" and v.strip().lower() == "null" else v for k, v in one.items()} for one in values]
    assert [(part[0], json.loads(part[1])) for part in parts] == [("f", one) for one in meant]


LONG = [
    "x" * 100,
    " " * 100,
    "</parameter> ",
    "\n" * 100,
    "<parameter=",
    "</function>\n",
    "</parameter>\n",
    "\n<function=f>\n",
]


@pytest.mark.parametrize("piece", LONG)
def test_a_long_value_is_read_in_linear_time(piece: str) -> None:
    """A megabyte in one value, piece by piece."""
    parser = ToolCallParser(FORMAT)
    parser.feed("<tool_call>\n<function=f>\n<parameter=a>\n")
    for _ in range(1_000_000 // len(piece)):
        parser.feed(piece)
    assert parser.feed("x\n</parameter>\n</function>\n</tool_call>")
    parser.flush()
    assert (parser.calls, parser.complete) == (1, 1)
