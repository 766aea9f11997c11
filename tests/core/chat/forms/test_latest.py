"""What was computed of callers' texts is kept in bounded memory."""

from __future__ import annotations

import sys
from itertools import count

import pytest

from qwen_triton.chat.forms.latest import LatestTexts


def test_a_text_is_computed_once_for_each_kind() -> None:
    latest, numbers = LatestTexts(most=10, most_bytes=10_000), count()

    def ask(source: str, kind: str) -> str:
        return latest.get(source, kind, lambda: str(next(numbers)))

    assert [ask("a", "x"), ask("a", "y"), ask("b", "x"), ask("a", "x"), ask("a", "y")] == ["0", "1", "2", "0", "1"]


def test_the_latest_are_kept_however_small() -> None:
    """The texts of 30,000 forms of one choice are 750 kB, and what is kept of each takes 380 bytes: both are counted."""
    latest = LatestTexts(most=3, most_bytes=1 << 20)
    for source in "abcadea":
        latest.get(source, "", source.upper)
    assert len(latest) == 3
    assert latest.held_bytes == 3 * (2 * sys.getsizeof("a") + 512)
    assert latest.get("d", "", lambda: "kept no longer") == "D"
    assert latest.get("b", "", lambda: "computed again") == "computed again"


def test_large_texts_are_kept_up_to_their_memory() -> None:
    """Of a text in Chinese that is two bytes a character; one that is too large drops none of the others."""
    latest = LatestTexts(most=100, most_bytes=20_000)
    for number in range(10):
        latest.get(f"{number}" + "\u4f60" * 3000, "", str)
    assert len(latest) == 3
    latest.get("\u4f60" * 30_000, "", str)
    assert len(latest) == 3
    assert 18_000 < latest.held_bytes <= 20_000


def test_what_cannot_be_computed_is_not_kept() -> None:
    latest = LatestTexts(most=3, most_bytes=10_000)
    with pytest.raises(ZeroDivisionError):
        latest.get("a", "", lambda: str(1 // 0))
    assert latest.get("a", "", lambda: "right") == "right"
