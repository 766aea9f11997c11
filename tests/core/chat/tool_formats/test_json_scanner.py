"""JsonScanner: a JSON object that arrives in pieces ends where Python's parser ends it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.chat.tool_formats.json_scanner import JsonScanner


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from([*list('{}[]",:\\ue-+.0123456789truefalsn \n'), '{"a":', "null", '"b"']), max_size=12
    )
)
def test_the_scanner_agrees_with_pythons_json(pieces: list[str]) -> None:
    """An object is complete just where Python reads it, and what is let through is its text."""
    text = "{" + "".join(pieces)
    scanner = JsonScanner()
    taken = [scanner.feed(piece) for piece in text]
    if scanner.complete:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
        accepted = "".join(part for part, _ in taken)
        assert sum(used for _, used in taken) == end
        assert json.loads(accepted) == value
    else:
        with pytest.raises(ValueError, match=r"."):
            json.JSONDecoder(strict=False).raw_decode(text)
