"""Writes the shim's tables of parameters into their pages; tests/project/test_openai_doc.py checks that they are current.

python -m tests.tools.make_openai_doc
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from qwen_triton_openai.bodies.body_parameter import COUNT_TOKENS, MESSAGES, RESPONSES
from qwen_triton_openai.bodies.tables import parameter_table
from tests.support.folders import ROOT

DOCUMENT = ROOT / "docs" / "openai.md"
PAGES: Mapping[Path, Callable[[], str]] = {
    DOCUMENT: parameter_table,
    ROOT / "docs" / "responses.md": partial(parameter_table, (RESPONSES,)),
    ROOT / "docs" / "anthropic.md": partial(parameter_table, (MESSAGES, COUNT_TOKENS)),
}
"""{page: the table that stands between its marks}."""
BEGIN, END = "<!-- parameters -->\n", "<!-- end of parameters -->"


def completed(page: Path) -> str:
    """The page with the table that the code describes."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    return before + BEGIN + PAGES[page]() + END + rest.split(END)[1]


if __name__ == "__main__":
    for document in PAGES:
        document.write_text(completed(document), encoding="utf-8")
