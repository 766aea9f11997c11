"""Flags of parameters: a form's schema comes from a file, or as text."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from qwen_triton_client.terminal.flags import add_parameter_flags, read_parameters


def given(*words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_parameter_flags(parser)
    return read_parameters(parser.parse_args(words))


def test_a_schema_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object", "title": "人"}', encoding="utf-8")
    assert given("--json-schema", str(file)) == {"json_schema": {"type": "object", "title": "人"}}
    assert given("--json-schema", ' {"type": "null"}') == {"json_schema": {"type": "null"}}


@pytest.mark.parametrize(
    ("text", "message"), [(None, "No such file"), ("[1]", "expected a JSON object"), ("{", "not JSON")]
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "schema.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(argparse.ArgumentError, match=message):
        given("--json-schema", str(file))
