"""Answers with tool calls, most of them broken, in random pieces: for readers to which the cuts must not matter."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise


def random_answers(answers: Sequence[str], fragments: Sequence[str], seed: int, count: int) -> Iterator[list[str]]:
    """Mixtures of `fragments`, and `answers` with a few edits; in pieces, the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        if draw.random() < 0.5:
            yield draw.choices(fragments, k=draw.randint(0, 14))
            continue
        text = "".join(draw.choices(answers, k=draw.randint(1, 2)))
        for _ in range(draw.randint(0, 2)):
            at = draw.randint(0, len(text))
            text = text[:at] + draw.choice(["", *fragments]) + text[at + draw.randint(0, 3) :]
        cuts = sorted(draw.choices(range(len(text) + 1), k=draw.randint(0, 6)))
        yield [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
