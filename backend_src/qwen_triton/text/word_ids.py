"""Encodes short ASCII texts from the ids of their words, which are kept: a fifth of the library's time.

The pattern that splits a text for Qwen's tokenizers is, in ASCII, one of Python's own. Each part is encoded by itself
there, so the ids of a text are those of its parts, which the library itself gives the first time. Other texts, and those of
tokenizers that split in another way, are the library's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import tokenizers

_SPLITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
)
"""Patterns of Qwen's tokenizers that are the same in ASCII, which has no marks (\\p{M})."""
_WORD = re.compile(
    r"'(?:[sdmtSDMT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]| ?[^\sa-zA-Z0-9]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    re.ASCII,
)
LONGEST_TEXT = 4096
"""Characters; Python's lock is held meanwhile, some 0.2 ms for so many, and the library releases it."""
_MOST_WORDS = 16_384
"""Words that are kept, some 5 MB; all are given up when there are more."""
_LONGEST_WORD = 32
_MOST_NEW = 12
"""Words of one text that are encoded one by one; a text with more is encoded at once, which is then faster."""
_LEARNT = 8
"""Words of such a text that are kept for the next one."""


class WordIds:
    """The ids of words that a tokenizer has encoded. Used by any number of threads at once.

    `absent`: characters with which its added tokens begin: a text that has one of them is left to the library.
    """

    def __init__(self, backend: tokenizers.Tokenizer, absent: Collection[str]) -> None:
        self._backend = backend
        self._absent = tuple(absent)
        self._ids: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> WordIds | None:
        """For a tokenizer that splits texts as Qwen's do and takes control tokens as plain text; None for any other."""
        if not _splits_as_qwen(backend):
            return None
        added = [token.content for token in backend.get_added_tokens_decoder().values() if not token.special]
        return cls(backend, {content[0] for content in added if content})

    def encode(self, text: str) -> list[int] | None:
        """The ids of `text`, None where the library has to encode it."""
        if not text.isascii() or len(text) > LONGEST_TEXT or any(first in text for first in self._absent):
            return None
        words = _WORD.findall(text)
        known = self._ids
        ids: list[int] = []
        try:
            for word in words:
                ids += known[word]
        except KeyError:
            return self._encode_new(words)
        return ids

    def _encode_new(self, words: list[str]) -> list[int] | None:
        known = self._ids
        new = [word for word in dict.fromkeys(words) if word not in known]
        few = len(new) <= _MOST_NEW
        learnt = new if few else new[:_LEARNT]
        encoded = self._backend.encode_batch_fast(learnt, add_special_tokens=False)
        found = {word: tuple(one.ids) for word, one in zip(learnt, encoded, strict=True)}
        if len(known) > _MOST_WORDS:
            self._ids = {}
        self._ids.update((word, ids) for word, ids in found.items() if len(word) <= _LONGEST_WORD)
        if not few:
            return None
        return [i for word in words for i in (found[word] if word in found else known[word])]


def _splits_as_qwen(backend: tokenizers.Tokenizer) -> bool:
    """Whether a text is normalized, split and merged as Qwen's tokenizers do it, one part at a time."""
    split, normalizer = _settings(backend.pre_tokenizer), _settings(backend.normalizer)
    parts = split.get("pretokenizers", ())
    if split.get("type") != "Sequence" or len(parts) != 2 or normalizer.get("type") not in (None, "NFC"):
        return False
    first, second = parts
    return (
        first.get("type") == "Split"
        and first.get("pattern", {}).get("Regex") in _SPLITS
        and (first.get("behavior"), first.get("invert")) == ("Isolated", False)
        and second.get("type") == "ByteLevel"
        and not (second.get("add_prefix_space") or second.get("use_regex"))
        and getattr(backend.model, "dropout", None) is None
    )


def _settings(part: Any) -> dict[str, Any]:
    """A part of a tokenizer as tokenizer.json has it; {} for none."""
    return {} if part is None else dict(json.loads(part.__getstate__()))
