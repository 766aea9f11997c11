"""ToolCallParser: calls and content of an answer, whatever the cuts; what is no call is never lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.chat.deltas import Content, ToolCallArguments, ToolCallStart
from qwen_triton.chat.tool_calls import ToolCallParser
from qwen_triton.chat.tool_formats.hermes import HERMES
from tests.support.broken_answers import random_answers

Part = str | tuple[str, str]


def parse(pieces: Iterable[str], begun: str = "", single: bool = False) -> list[Part]:
    """The answer's parts in order: content as text, a call as (name, arguments)."""
    parser = ToolCallParser(HERMES, begun=begun, single=single)
    parts: list[Part] = []
    for delta in [delta for piece in pieces for delta in parser.feed(piece)] + parser.flush():
        last = parts[-1] if parts else None
        if isinstance(delta, Content):
            parts[len(parts) - isinstance(last, str) :] = [(last if isinstance(last, str) else "") + delta.text]
        elif isinstance(delta, ToolCallStart):
            assert delta.index == sum(isinstance(part, tuple) for part in parts)
            parts.append((delta.name, ""))
        else:
            assert isinstance(last, tuple)
            assert delta.index == sum(isinstance(part, tuple) for part in parts) - 1
            parts[-1] = (last[0], last[1] + delta.text)
    return parts


def block(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
CALL = ("get_weather", '{"city": "Paris"}')

TABLE: list[tuple[str, list[Part]]] = [
    (block(PARIS), [CALL]),
    ("Just text with a < and a <tool>.", ["Just text with a < and a <tool>."]),
    ("", []),
    (" \n", [" \n"]),
    # text around calls is content, blanks around them are not
    (f"Let me see.\n{block(PARIS)}", ["Let me see.", CALL]),
    (f"{block(PARIS)}\n{block(PARIS)}\n", [CALL, CALL]),
    (f"a \n\n{block(PARIS)} b\n c {block(PARIS)}\nd\n", ["a", CALL, "b\n c", CALL, "d\n"]),
    (block(PARIS) * 3, [CALL, CALL, CALL]),
    # strings that look like something else
    (
        block('{"name": "f", "arguments": {"a": "} \\" </tool_call> \\\\", "b": ["{", "\\u4f60"]}}'),
        [("f", '{"a": "} \\" </tool_call> \\\\", "b": ["{", "\\u4f60"]}')],
    ),
    (block('{"name": "\\u4f60\\"", "arguments": {}}'), [('你"', "{}")]),
    (block('{"name": "f", "arguments": {"a": {"b": [1, -2.5e3, true, null, {}]}}}'),
     [("f", '{"a": {"b": [1, -2.5e3, true, null, {}]}}')]),
    (block('{"name":"f","arguments":{"天气":"晴 🙂"}}'), [("f", '{"天气":"晴 🙂"}')]),
    (block('\n{ "name" :\t"f" ,\n"arguments" : {\n "a" : 1\n} }\n'), [("f", '{\n "a" : 1\n}')]),
    # other shapes of a call
    (block('{"name": "f"}'), [("f", "{}")]),
    (block('{"name": "f", "arguments": null}'), [("f", "{}")]),
    (block('{"name": "f", "arguments": "{\\"a\\": 1}"}'), [("f", '{"a": 1}')]),
    (block('{"arguments": {"a": "你"}, "name": "f"}'), [("f", '{"a": "你"}')]),
    (block('{"id": 7, "name": "f", "arguments": {"a": 1}}'), [("f", '{"a": 1}')]),
    (block('{"arguments": {"a": "\\ud83d"}, "name": "f"}'), [("f", '{"a": "\\ud83d"}')]),
    # a line end inside a string is no JSON; it is escaped
    (block('{"name": "f", "arguments": {"a": "x\ny\t"}}'), [("f", '{"a": "x\\ny\\t"}')]),
    # a missing brace, a missing closing tag
    (block(PARIS[:-1]), [CALL]),
    (f"<tool_call>\n{PARIS}", [CALL]),
    (f"<tool_call>\n{PARIS}\n<tool_call>\n{PARIS}\n</tool_call>", [CALL, CALL]),
    # text between the arguments and the closing tag
    (block(PARIS + " and more"), [CALL, "and more\n</tool_call>"]),
    (block(PARIS[:-1] + ', "id": 1}'), [CALL, ', "id": 1}\n</tool_call>']),
    (block('{"name": "f"}}'), [("f", "{}"), "}\n</tool_call>"]),
    # no calls: content, word for word
    (block("not JSON"), [block("not JSON")]),
    (f"a\n{block('{name: 1}')} b", [f"a\n{block('{name: 1}')} b"]),
    (block("[1]"), [block("[1]")]),
    (block("{}"), [block("{}")]),
    (block('{"name": "f", "parameters": {"a": 1}}'), [block('{"name": "f", "parameters": {"a": 1}}')]),
    (block('{"name": "", "arguments": {}}'), [block('{"name": "", "arguments": {}}')]),
    (block('{"name": 1, "arguments": {}}'), [block('{"name": 1, "arguments": {}}')]),
    (block('{"name": "f", "arguments": [1]}'), [block('{"name": "f", "arguments": [1]}')]),
    (block('{"name": "f", "arguments": "x"}'), [block('{"name": "f", "arguments": "x"}')]),
    (block('{"name": "\\ud83d", "arguments": {}}'), [block('{"name": "\\ud83d", "arguments": {}}')]),
    (block('{"name": "f" "arguments": {}}'), [block('{"name": "f" "arguments": {}}')]),
    ('<tool_call>\n{"name": "f", "argum', ['<tool_call>\n{"name": "f", "argum']),
    ("a <tool_call>", ["a <tool_call>"]),
    ("a <tool_ca", ["a <tool_ca"]),
    (f"<tool_call>{block(PARIS)}", ["<tool_call>", CALL]),
    (f"{block('oops')}\n{block(PARIS)}", [block("oops"), CALL]),
    (f"{block(PARIS)}\n{block('oops')}", [CALL, block("oops")]),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "parts"), TABLE)
def test_table_at_every_cut(answer: str, parts: list[Part]) -> None:
    """Whole, in two at every place, and character by character."""
    for cut in range(len(answer) + 1):
        assert parse([answer[:cut], answer[cut:]]) == parts, cut
    assert parse(answer) == parts


BROKEN = [
    (block('{"name": "f", "arguments": {"a": oops}}'), [("f", '{"a": oops}}\n')]),
    (block('{"name": "f", "arguments": {"a": 1,, "b": 2}}') + "\nb", [("f", '{"a": 1,, "b": 2}}\n'), "b"]),
    (block('{"name": "f", "arguments": {"a": "\\q"}}'), [("f", '{"a": "\\q"}}\n')]),
    ('<tool_call>{"name": "f", "arguments": {"a": tru}', [("f", '{"a": tru}')]),
    ('<tool_call>{"name": "f", "arguments": {"a": "cut o', [("f", '{"a": "cut o')]),
    ('<tool_call>{"name": "f", "arguments": {"a": 01}</tool_ca', [("f", '{"a": 01}</tool_ca')]),
]


@pytest.mark.parametrize(("answer", "parts"), BROKEN)
def test_arguments_that_break_after_the_call_began(answer: str, parts: list[Part]) -> None:
    """Given out as they are, because nothing can be taken back; the call is begun and not complete."""
    for cut in range(len(answer) + 1):
        assert parse([answer[:cut], answer[cut:]]) == parts, cut
    assert parse(answer) == parts
    parser = ToolCallParser(HERMES)
    parser.feed(answer)
    parser.flush()
    assert (parser.calls, parser.complete) == (1, 0)


def test_a_call_after_broken_arguments_is_still_read() -> None:
    """An opening tag ends them as well."""
    answer = f'<tool_call>{{"name": "f", "arguments": {{oops\n{block(PARIS)}'
    assert parse([answer]) == [("f", "{oops\n"), CALL]


def test_deltas_come_as_early_as_they_can() -> None:
    """The name before the arguments, each piece of these at once; content waits only for a tag it may begin."""
    parser = ToolCallParser(HERMES)
    assert parser.feed("Hm <tool") == [Content("Hm")]
    assert parser.feed('_call>\n{"name": "f", "arg') == []
    assert parser.feed('uments": {"a": "Pa') == [ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": "Pa')]
    assert parser.feed("ris") == [ToolCallArguments(0, "ris")]
    assert parser.feed('"}}\n</tool_call>\n') == [ToolCallArguments(0, '"}')]
    assert parser.feed("done") == [Content("done")]
    assert parser.flush() == []
    assert parser.calls == 1


FRAGMENTS = [
    "<tool_call>", "</tool_call>", '{"name": "f", "arguments": ', '{"a": 1}', "{", "}", "[", "]", '"', "\\", ",", ":",
    "1", "null", "-", " ", "\n", "x", "你", "<", "</tool", "_call>", '"name"', '"arguments"', PARIS, "\\u00", block(PARIS),
    '{"name": "f"}', '{"arguments": "{}", "name": "g"}',
]  # fmt: skip


ANSWERS = [answer for answer, _ in [*TABLE, *BROKEN]]


def test_the_cuts_do_not_matter() -> None:
    """6,000 answers, most of them broken: in pieces, whole, and character by character."""
    for number, pieces in enumerate(random_answers(ANSWERS, FRAGMENTS, 1, 6_000)):
        answer, single = "".join(pieces), bool(number % 2)
        parts = parse([answer], single=single)
        assert parse(pieces, single=single) == parts, pieces
        assert parse(answer, single=single) == parts, answer


def test_text_without_a_call_is_the_same_text() -> None:
    """Where no part is a call, the parts joined are the answer."""
    texts = [text for pieces in random_answers(ANSWERS, FRAGMENTS, 2, 10_000) if (text := "".join(pieces))]
    without = [text for text in texts if not any(isinstance(part, tuple) for part in parse([text]))]
    assert len(without) > 3000
    for text in without:
        assert parse([text]) == [text]


def test_nothing_but_markup_is_left_out() -> None:
    """Whatever the answer, only blanks, tags and the outer object of a call are missing, in order."""
    markup = re.compile(r'<tool_call>|</tool_call>|\s|[{}",:]|name|arguments')
    for pieces in random_answers(ANSWERS, FRAGMENTS, 3, 10_000):
        answer = "".join(pieces)
        if "\\" in answer or '{"arguments"' in answer or '"{' in answer or "7" in answer or "null" in answer:
            continue  # escapes are resolved in names; in other shapes the arguments are written anew
        found = "\0".join(part if isinstance(part, str) else "\0".join(part) for part in parse([answer]))
        unescaped = found.replace("\\n", "").replace("\\t", "")
        assert markup.sub("", unescaped).replace("\0", "") == markup.sub("", answer), answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.dictionaries(st.text(), JSON, max_size=3)), max_size=3
    ),
    between=st.text(alphabet="ab <>/\n", max_size=5),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    data=st.data(),
)
def test_any_calls_come_out_as_they_went_in(
    calls: list[tuple[str, dict[str, Any]]], between: str, ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    """Names and arguments with any characters, in random pieces, with text between."""
    bodies = [json.dumps({"name": n, "arguments": a}, ensure_ascii=ascii_only, indent=indent) for n, a in calls]
    answer = between.join(map(block, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=5)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    parts = parse(pieces)
    found = [(part[0], json.loads(part[1])) for part in parts if isinstance(part, tuple)]
    assert found == calls
    assert [part for part in parts if isinstance(part, str)] == [between.strip(" \n")] * (
        max(0, len(calls) - 1) if between.strip(" \n") else 0
    )


def test_a_long_broken_block_is_read_in_linear_time() -> None:
    """A megabyte in one string, piece by piece, in a name that never ends."""
    parser = ToolCallParser(HERMES)
    parser.feed('<tool_call>{"name": "')
    assert all(parser.feed("x" * 100) == [] for _ in range(10_000))
    assert sum(len(delta.text) for delta in parser.flush() if isinstance(delta, Content)) == 1_000_021


NAMED = '<tool_call>\n{"name": "get_weather", "arguments":'
"""What the product writes for a named choice."""

BEGUN: list[tuple[str, str, list[Part]]] = [
    # begun, the model's text, the parts
    (NAMED, ' {"city": "Paris"}}\n</tool_call>', [CALL]),
    (NAMED, ' "{\\"city\\": \\"Paris\\"}"}\n</tool_call>', [CALL]),
    (NAMED, " {}}", [("get_weather", "{}")]),
    ('<tool_call>\n{"name":', ' "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>', [CALL]),
    ('<tool_call>\n{"name": "get_weather", "arguments": {"city": ', '"Paris"}}\n</tool_call> ok', [CALL, "ok"]),
    # what breaks the call is the model's text alone
    (NAMED, " I cannot do that.\n</tool_call>", [" I cannot do that.\n</tool_call>"]),
    (NAMED, f" no\n{block(PARIS)}", [" no", CALL]),
    ('<tool_call>\n{"name":', ' "get_wea', [' "get_wea']),
    (NAMED, "", []),
    # a beginning that opens no call
    ("Sure: ", f"<b>\n{block(PARIS)}", ["<b>", CALL]),
    ("The city \n", "Paris", ["Paris"]),
]


@pytest.mark.parametrize(("begun", "answer", "parts"), BEGUN)
def test_an_answer_that_continues_what_the_prompt_began(begun: str, answer: str, parts: list[Part]) -> None:
    """The call may begin in it; of the content it is no part."""
    for cut in range(len(answer) + 1):
        assert parse([answer[:cut], answer[cut:]], begun) == parts, cut
    assert parse(answer, begun) == parts


WRITE = block('{"name":"write","arguments":{"text":"close with </tool_call> ok"}}')
BROKEN_CALL = block('{"name": "f", "arguments": {oops}}')
PROSE = "The tag </tool_call> ends a call."

SINGLE: list[tuple[str, str, list[Part]]] = [
    # what is read until the answer is over, what is not, the parts
    (f"a {block(PARIS)}", f"\n{block(PARIS)} b", ["a", CALL]),
    (WRITE, "x", [("write", '{"text":"close with </tool_call> ok"}')]),
    (f"{PROSE}\n{block(PARIS)}", "", [PROSE, CALL]),
    (f"{block('oops')}{block(PARIS)}", " b", [block("oops"), CALL]),
    (f"<tool_call>{PARIS} a", "nd more", [CALL]),
    (BROKEN_CALL, " b", [("f", "{oops}}\n")]),
]


@pytest.mark.parametrize(("answer", "behind", "parts"), SINGLE)
def test_a_single_call_ends_the_answer_where_it_is_closed(answer: str, behind: str, parts: list[Part]) -> None:
    """Tags in strings and in prose are text; what follows the call is left out."""
    for cut in range(len(answer) + 1):
        assert parse([answer[:cut], answer[cut:] + behind], single=True) == parts, cut
    parser = ToolCallParser(HERMES, single=True)
    over = []
    for character in answer:
        parser.feed(character)
        over.append(parser.over)
    assert over == [False] * (len(answer) - 1) + [True]
