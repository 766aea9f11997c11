"""ThinkingTokens: the tokens between <think> and </think>, however they come, through TextStream."""

from __future__ import annotations

import pytest

from qwen_triton.text.text_stream import TextStream
from qwen_triton.text.thinking_tokens import ThinkingTokens
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import TokenChunk

OPENING, CLOSING, IM_END = 151667, 151668, 151645


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("opened", "ids", "count"),
    [
        (False, [OPENING, 198, 198, CLOSING, 198, 33], 2),
        (True, [198, 198, 198, CLOSING, 33], 3),
        (True, [CLOSING, 33], 0),
        (False, [OPENING, 198, 33, 34], 3),
        (True, [198, 33], 2),
        (False, [33, OPENING, 34, CLOSING], 0),
        (False, [33, 34], 0),
        (True, [198, CLOSING, OPENING, 33, CLOSING, 33], 1),
    ],
)
def test_the_tokens_between_the_tags_are_counted(
    qwen3: Tokenizer, opened: bool, ids: list[int], count: int, size: int
) -> None:
    """Tags are not; a block that was cut counts as far as it goes; a later block is text."""
    stream = TextStream(qwen3, end_ids=(IM_END,), thinking=ThinkingTokens(OPENING, CLOSING, opened=opened))
    for at in range(0, len(ids), size):
        stream.feed(TokenChunk(ids[at : at + size]))
    assert stream.usage.reasoning_tokens == count
    stream.feed(TokenChunk((), finish="length"))
    assert (stream.usage.reasoning_tokens, stream.usage.completion_tokens) == (count, len(ids))


def test_without_tags_nothing_is_known(qwen25: Tokenizer) -> None:
    assert TextStream(qwen25).usage.reasoning_tokens is None
