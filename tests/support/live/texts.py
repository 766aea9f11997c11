"""Random texts and token streams for live tests, each with the text that a client must receive."""

from __future__ import annotations

import random
from collections.abc import Iterator

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.random_streams import TEXTS, RandomStreams

_SCRIPTS = ((0x20, 0x7E), (0x4E00, 0x9FFF), (0x400, 0x4FF), (0x1F300, 0x1F6FF), (0x600, 0x6FF), (0xAC00, 0xD7A3))


def random_texts(tokenizer: Tokenizer, seed: int, longest: int = 40) -> Iterator[str]:
    """Texts of many scripts that survive tokenizing as they are (Qwen's tokenizers normalize, as NFC)."""
    draw = random.Random(seed)
    while True:
        text = "".join(_piece(draw) for _ in range(draw.randint(1, longest // 4)))
        if text.strip() and tokenizer.decode(tokenizer.encode(text)) == text:
            yield text


def _piece(draw: random.Random) -> str:
    if draw.random() < 0.4:
        text = draw.choice(TEXTS)
        start = draw.randrange(len(text))
        return text[start : start + draw.randint(1, 12)]
    low, high = draw.choice(_SCRIPTS)
    return "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 4)))


def random_ids(tokenizer: Tokenizer, seed: int, longest: int = 40) -> Iterator[list[int]]:
    """Streams that are hard on a detokenizer, of ids that the tokenizer knows: half characters, invalid bytes."""
    streams = RandomStreams(tokenizer, seed)
    while True:
        ids = [i for i in streams.stream(longest) if i < tokenizer.vocab_size]
        if ids:
            yield ids
