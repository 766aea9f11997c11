"""Calls of a model that does not tell their format: each is read in the one that it shows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from qwen_triton.chat.deltas import Content, Delta
from qwen_triton.chat.tool_calls import ToolCallParser
from qwen_triton.chat.tool_formats.formats import TOOL_FORMATS, format_named
from qwen_triton.chat.tool_formats.hermes import HERMES
from qwen_triton.chat.tool_formats.qwen3_coder import QWEN3_CODER
from qwen_triton.chat.tool_formats.tool_format import ToolFormat
from qwen_triton.chat.tool_formats.untold import UNTOLD

TOOLS = [{"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}]
JSON = '<tool_call>\n{"name": "f", "arguments": {"n": 5}}\n</tool_call>'
XML = "<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>"
BARE = XML.removeprefix("<tool_call>\n")


def deltas(tool_format: ToolFormat, pieces: Iterable[str], begun: str = "") -> list[Delta]:
    parser = ToolCallParser(tool_format.for_tools(TOOLS), begun=begun)
    return [delta for piece in pieces for delta in parser.feed(piece)] + parser.flush()


@pytest.mark.parametrize(
    ("answer", "tool_format"),
    [(JSON, HERMES), (XML, QWEN3_CODER), (BARE, QWEN3_CODER), ("a <tool_call> b", HERMES), ("<tool_call>", HERMES)],
)
def test_each_call_is_read_in_its_own_format(answer: str, tool_format: ToolFormat) -> None:
    """The same as where it is told, at every cut."""
    told = deltas(tool_format, [answer])
    for at in range(len(answer) + 1):
        found = deltas(UNTOLD, [answer[:at], answer[at:]])
        assert [d for d in found if not isinstance(d, Content)] == [d for d in told if not isinstance(d, Content)] or at
        assert "".join(d.text for d in found if isinstance(d, Content)) == "".join(
            d.text for d in told if isinstance(d, Content)
        )


@pytest.mark.parametrize("name", ["f", None])
@pytest.mark.parametrize(("answer", "tool_format"), [(JSON, HERMES), (XML, QWEN3_CODER)])
def test_a_forced_call_is_read_in_either(name: str | None, answer: str, tool_format: ToolFormat) -> None:
    """Its text continues a beginning that is not known, and shows which."""
    behind = answer.removeprefix(tool_format.beginning(name))
    told = deltas(tool_format, [behind], tool_format.beginning(name))
    forced = UNTOLD.forced(name)
    assert deltas(forced, [behind], forced.beginning(name)) == told
    assert deltas(forced, ["I cannot."], forced.beginning(name)) == [Content("I cannot.")]


def test_a_format_by_its_name() -> None:
    """An older client may not know a newer one."""
    assert {name: format_named(name) for name in TOOL_FORMATS} == {"hermes": HERMES, "qwen3_coder": QWEN3_CODER}
    assert format_named("") is UNTOLD
    assert format_named("newer") is UNTOLD
    assert UNTOLD.form(TOOLS[0]) == HERMES.form(TOOLS[0])
