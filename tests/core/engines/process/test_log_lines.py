"""A line of a log stays one line, whatever it quotes."""

from __future__ import annotations

import io
import logging

import pytest

from qwen_triton.engines.process.log_lines import LineFormatter, escaped, one_line


@pytest.mark.parametrize(
    "char", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u200b", "\ud800"]
)
def test_characters_that_end_a_line_or_are_not_seen_are_escaped(char: str) -> None:
    assert escaped(f"a{char}b") == f"a\\u{ord(char):04x}b"


def test_others_stay() -> None:
    assert escaped("你好 é 😀 \\") == "你好 é 😀 \\"


def test_a_long_line_is_cut() -> None:
    assert one_line("x" * 100, 10) == "xxxxxxxxxx… (100 characters)"


def test_a_message_and_its_traceback_forge_no_line() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("%(levelname)s model: %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("bad\nERROR model: forged")
    except ValueError as error:
        logger.error("request %s failed", "id\nERROR model: forged", exc_info=error)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "ERROR model: request id\\u000aERROR model: forged failed"
    assert all(line.startswith("    ") for line in lines[1:])
    assert any("ERROR model: forged" in line for line in lines[1:])
