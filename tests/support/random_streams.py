"""Random token streams with split characters, invalid bytes, control tokens and many scripts, to stress a detokenizer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from qwen_triton.text.tokenizer import Tokenizer

TEXTS = (
    "你好，世界！我叫通义千问，很高兴认识你。",
    "👨‍👩‍👧‍👦🇨🇳🏳️‍🌈👍🏽 e\u0301 ñ ﷽",
    "Здравствуй, мир — «цитата»",
    "مرحبا بالعالم हिन्दी ภาษาไทย 한국어 日本語",
    "def f(x):\r\n\treturn {'a': 1}  # \U0001f600\u200b",
    "𠮷野家 𝒳 \U0010ffff \ufffd \ufeff",
)


class RandomStreams:
    """Draws streams of token ids from one tokenizer, the same ones for the same seed."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._random = random.Random(seed)
        partial = [i for i in tokenizer.bytes_by_id if i not in tokenizer.full_text]
        single = [i for i, data in tokenizer.bytes_by_id.items() if len(data) == 1]
        texts = [i for text in TEXTS for i in tokenizer.encode(text)]
        added = range(151643, tokenizer.vocab_size)
        beyond = [tokenizer.vocab_size, tokenizer.model_vocab_size - 1]
        pools: list[tuple[Sequence[int], int]] = [
            (partial, 5), (single, 5), (texts, 4), (range(151643), 3), (added, 2), (beyond, 1)
        ]  # fmt: skip
        self._pools = [pool for pool, _ in pools]
        self._weights = [weight for _, weight in pools]
        self._texts = texts

    def stream(self, longest: int = 12) -> list[int]:
        """Up to `longest` ids; now and then a run of real text instead, cut anywhere."""
        draw = self._random
        length = draw.randint(1, longest)
        if draw.random() < 0.2:
            start = draw.randrange(len(self._texts))
            return self._texts[start : start + length]
        return [draw.choice(pool) for pool in draw.choices(self._pools, self._weights, k=length)]

    def cut(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """The ids in random chunks, some of them empty."""
        at = 0
        while at < len(ids):
            size = self._random.randint(0, 3)
            yield ids[at : at + size]
            at += size


def all_cuts(ids: Sequence[int]) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Every cut of the ids into two."""
    return ((ids[:at], ids[at:]) for at in range(len(ids) + 1))
