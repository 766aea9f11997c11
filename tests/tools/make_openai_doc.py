"""Writes the shim's table of parameters into docs/openai.md; tests/project/test_openai_doc.py checks that it is current.

python -m tests.tools.make_openai_doc
"""

from __future__ import annotations

from qwen_triton_openai.bodies.tables import parameter_table
from tests.support.folders import ROOT

DOCUMENT = ROOT / "docs" / "openai.md"
BEGIN, END = "<!-- parameters -->\n", "<!-- end of parameters -->"


def completed(text: str) -> str:
    """The document with the table that the code describes."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + parameter_table() + END + rest.split(END)[1]


if __name__ == "__main__":
    DOCUMENT.write_text(completed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
