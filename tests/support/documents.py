"""The documents of the repository and the code in them: inline spans and fenced or indented blocks."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.folders import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", "demo/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^(?: {4}\S.*\n)+", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def spans(page: Path) -> list[str]:
    """Inline code, in the order of the page."""
    return _SPAN.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def commands(page: Path) -> list[str]:
    """Inline code and the lines of code blocks, with continued lines joined and shell comments cut off."""
    text = page.read_text(encoding="utf-8")
    blocks = [*_FENCE.findall(text), *_INDENTED.findall(_FENCE.sub("", text))]
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    return [re.sub(r"(^|\s)#\s.*", "", line).strip() for line in [*spans(page), *lines]]
