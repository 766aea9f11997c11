"""ToolInput: whatever a model wrote, a client's parser takes all of it, at any moment."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jiter import from_json

from qwen_triton_openai.answers.messages.tool_input import ToolInput

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


def read(text: str, cuts: random.Random | None = None) -> tuple[ToolInput, list[str]]:
    """The input and the parts that were certain, of a text that is cut at random."""
    found, parts, at = ToolInput(), [], 0
    while at < len(text):
        size = cuts.choice((1, 1, 2, 3, 7)) if cuts else len(text)
        parts.append(found.feed(text[at : at + size]))
        at += size
    return found, parts


@pytest.mark.parametrize(
    ("text", "certain", "json_text", "intact"),
    [
        ('{"a": 12}', '{"a": 12}', '{"a": 12}', True),
        ('{"a": [1, {"b": "x"}]}', '{"a": [1, {"b": "x"}]}', '{"a": [1, {"b": "x"}]}', True),
        ('{"a": 12', '{"a": ', "{}", False),
        ('{"a": 12, "b', '{"a": 12, "b', '{"a": 12}', False),
        ('{"a": "x', '{"a": "x', "{}", False),
        ('{"a": [1, "x', '{"a": [1, "x', '{"a": [1]}', False),
        ('{"a": nul}', '{"a": ', "{}", False),
        ('{"a": 1.2.3, "b": 1}', '{"a": ', "{}", False),
        ("{oops", "{", "{}", False),
        ('{"a": "x"} and more', '{"a": "x"}', '{"a": "x"}', True),
        ('{"a": "\\ud83d\\ude00"}', '{"a": "\\ud83d\\ude00"}', '{"a": "\\ud83d\\ude00"}', True),
        ('{"a": "\\ud83d!"}', '{"a": "\\ufffd!"}', '{"a": "\\ufffd!"}', True),
        ('{"a": "\\ude00\\ud83d\\n"}', '{"a": "\\ufffd\\ufffd\\n"}', '{"a": "\\ufffd\\ufffd\\n"}', True),
        ('{"a": "\\ud83d', '{"a": "', "{}", False),
        ('{"a": "\\\\ud83d"}', '{"a": "\\\\ud83d"}', '{"a": "\\\\ud83d"}', True),
        ('{"a": "one\nline"}', '{"a": "one\\nline"}', '{"a": "one\\nline"}', True),
        ("", "", "{}", False),
    ],
)
def test_known_inputs(text: str, certain: str, json_text: str, intact: bool) -> None:
    """Complete, cut, malformed, half characters."""
    for cuts in (None, random.Random(1), random.Random(2)):
        found, parts = read(text, cuts)
        assert ("".join(parts), found.json, found.intact) == (certain, json_text, intact)


def test_a_deep_input_ends_before_parsers_of_clients_do() -> None:
    found, parts = read('{"a": ' + "[" * 300 + "]" * 300 + "}")
    assert not found.intact
    assert from_json("".join(parts).encode(), partial_mode=True) == json.loads(found.json)


@settings(max_examples=200, deadline=None)
@given(OBJECTS, st.booleans(), st.integers(0, 200), st.integers(0, 9))
def test_an_object_is_read_as_it_was_written(value: object, plain: bool, cut: int, seed: int) -> None:
    """Whole; and cut anywhere, as the client's parser reads what was certain by then."""
    text = json.dumps(value, ensure_ascii=plain)
    found, parts = read(text, random.Random(seed))
    assert (json.loads(found.json), "".join(parts), found.intact) == (json.loads(text), text, True)
    found, parts = read(text[:cut], random.Random(seed))
    certain = "".join(parts).encode()
    assert text.encode().startswith(certain)
    assert json.loads(found.json) == (from_json(certain, partial_mode=True) if certain else {})


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('{}[]",:\\u d83e019.-truefalsn\n'), max_size=30), st.integers(0, 9))
def test_any_text_is_taken_by_a_client_s_parser(text: str, seed: int) -> None:
    """However it is malformed, and however it arrives."""
    found, parts = read("{" + text, random.Random(seed))
    for end in range(1, len(parts) + 1):
        if certain := "".join(parts[:end]).encode():
            from_json(certain, partial_mode=True)
    assert isinstance(json.loads(found.json), dict)
    assert read("{" + text)[0].json == found.json
