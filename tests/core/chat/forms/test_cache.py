"""The cache of compiled texts keeps what was used last, within its bound in bytes."""

from __future__ import annotations

import pytest

from qwen_triton.chat.forms.cache import TextCache


def test_the_latest_are_kept_within_the_bound() -> None:
    cache, made = TextCache[str](3000), list[str]()

    def get(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key * 900

        return cache.get(key, key, make)

    for key in ("a", "b", "a", "c", "d", "a", "c"):  # three fit; "b" is the one that was used longest ago
        assert get(key) == key * 900
    assert made == ["a", "b", "c", "d"]
    get("b")
    assert made[-1] == "b"


def test_one_that_is_larger_than_the_bound_is_kept_alone() -> None:
    cache = TextCache[str](10)
    first = cache.get("a", "a", lambda: "x" * 100)
    assert cache.get("a", "a", lambda: "other") is first
    cache.get("b", "b", lambda: "y")
    assert cache.get("a", "a", lambda: "other") == "other"


def test_what_fails_is_not_kept() -> None:
    cache = TextCache[str](1000)

    def fails() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", "a", fails)
    assert cache.get("a", "a", lambda: "x") == "x"
