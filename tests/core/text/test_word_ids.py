"""Ids put together from those of kept words are the ids that the library gives the whole text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from qwen_triton.text import word_ids
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.text.word_ids import WordIds

_KINDS = ("a", "S", "'", "l", "L", "0", " ", "\n", "\r", "\t", "\x0b", "\x1c", "!", "_")
"""A character of every kind that the patterns tell apart, and those that are easily taken for another kind."""
_PARTS = ("it's", "WE'LL", "don't", "the", " the", "Qwen", "12", " ", "  ", "\n", "\r\n", "\n\n ", "...", "!=", "\x00")


@pytest.fixture(scope="module")
def backend(qwen25_folder: Path) -> tokenizers.Tokenizer:
    """The library's tokenizer of Qwen2.5."""
    loaded = tokenizers.Tokenizer.from_file(str(qwen25_folder / "tokenizer.json"))
    loaded.encode_special_tokens = True
    return loaded


@pytest.fixture(scope="module")
def words(backend: tokenizers.Tokenizer) -> WordIds:
    found = WordIds.of(backend)
    assert found is not None
    return found


def _whole(backend: tokenizers.Tokenizer, text: str) -> Sequence[int]:
    ids: Sequence[int] = backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
    return ids


def test_every_three_characters(backend: tokenizers.Tokenizer, words: WordIds) -> None:
    for letters in itertools.product(_KINDS, repeat=3):
        text = "".join(letters)
        assert words.encode(text) == _whole(backend, text), repr(text)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.text(st.characters(max_codepoint=127, exclude_characters="<"), max_size=60),
        st.lists(st.sampled_from(_PARTS), max_size=12).map("".join),
    )
)
def test_any_text(backend: tokenizers.Tokenizer, words: WordIds, text: str) -> None:
    expected = _whole(backend, text)
    assert words.encode(text) in (expected, None)
    learnt = words.encode(text)
    assert learnt in (expected, None)
    assert learnt is not None or len(text) > 12


def test_a_text_of_new_words_is_learnt_by_and_by(backend: tokenizers.Tokenizer) -> None:
    words = WordIds.of(backend)
    assert words is not None
    text = " ".join(f"new{letter}word" for letter in "abcdefghijklmnopqrst")
    assert [words.encode(text) is None for _ in range(3)] == [True, False, False]
    assert words.encode(text) == _whole(backend, text)


@pytest.mark.parametrize("text", ["naïve", "你好", "<tool_call>", "a < b", "x" * (word_ids.LONGEST_TEXT + 1)])
def test_other_texts_are_left_to_the_library(words: WordIds, text: str) -> None:
    assert words.encode(text) is None


def test_kept_words_are_bounded(backend: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_ids, "_MOST_WORDS", 20)
    words = WordIds.of(backend)
    assert words is not None
    for number in range(200):
        letters = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        assert words.encode(f"{letters} {letters * 40}") == _whole(backend, f"{letters} {letters * 40}")
        assert len(words._ids) <= 20 + 12
        assert all(len(word) <= 32 for word in words._ids)


def test_both_families_of_checkpoints_have_them(qwen25: Tokenizer, qwen3: Tokenizer) -> None:
    assert qwen25._words is not None
    assert qwen3._words is not None


def test_a_tokenizer_that_splits_otherwise_has_none(qwen25_folder: Path) -> None:
    other = tokenizers.Tokenizer.from_file(str(qwen25_folder / "tokenizer.json"))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert WordIds.of(other) is None


def test_a_tokenizer_uses_them(
    qwen25: Tokenizer, backend: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    encode = WordIds.encode

    def noted(words: WordIds, text: str) -> list[int] | None:
        asked.append(text)
        return encode(words, text)

    monkeypatch.setattr(WordIds, "encode", noted)
    text = "<|im_start|>user\nIt's 5 o'clock<|im_end|>\n"
    assert qwen25.encode(text) == _whole(backend, text)
    assert qwen25.encode(text, control_tokens=True) == [
        *(qwen25.special_tokens["<|im_start|>"], *_whole(backend, "user\nIt's 5 o'clock")),
        *(qwen25.special_tokens["<|im_end|>"], *_whole(backend, "\n")),
    ]
    assert asked == [text, "user\nIt's 5 o'clock", "\n"]
