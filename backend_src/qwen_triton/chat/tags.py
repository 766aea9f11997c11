"""Finds tags in a text that arrives in pieces, and how much of its end may still become one."""

from __future__ import annotations


def first_tag(text: str, *tags: str) -> tuple[int, str] | None:
    """Index and text of the first of `tags` in `text`; None where there is none."""
    found = [(at, tag) for tag in tags if (at := text.find(tag)) >= 0]
    return min(found) if found else None


def held_back(text: str, *tags: str) -> int:
    """The length of the longest suffix of `text` that is the beginning, but not the whole, of one of `tags`."""
    lengths = (n for tag in tags for n in range(1, len(tag)) if text.endswith(tag[:n]))
    return max(lengths, default=0)
