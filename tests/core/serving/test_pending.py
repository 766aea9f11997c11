"""PendingChunks: chunks merge while they wait, oldest sequence first."""

from __future__ import annotations

from qwen_triton.serving.pending import PendingChunks
from qwen_triton.types import TokenChunk


def test_chunks_of_one_sequence_merge_and_the_oldest_comes_first() -> None:
    pending: PendingChunks[int] = PendingChunks()
    pending.add(1, TokenChunk([10]))
    pending.add(2, TokenChunk([20]))
    pending.add(1, TokenChunk([11]))
    assert [pending.pop(), pending.pop(), bool(pending)] == [(1, TokenChunk([10, 11])), (2, TokenChunk([20])), False]


def test_log_probs_are_joined_and_the_end_is_kept() -> None:
    pending: PendingChunks[int] = PendingChunks()
    pending.add(1, TokenChunk([10], [-1.0], cached_tokens=4))
    pending.add(1, TokenChunk([11], [-2.0], finish="stop", stop_token=7))
    assert pending.pop() == (1, TokenChunk([10, 11], [-1.0, -2.0], finish="stop", stop_token=7, cached_tokens=4))


def test_plain_chunks_and_others_merge_in_any_order() -> None:
    """Lists grow in place, whatever has none yet gets one; defaults are given again where nothing else was."""
    pending: PendingChunks[int] = PendingChunks()
    for chunk in (
        TokenChunk(cached_tokens=4),
        TokenChunk([10]),
        TokenChunk([11]),
        TokenChunk([12], [-1.0], [[(12, -1.0)]], cum_log_prob=-1.0),
        TokenChunk([13], [-2.0], [[(13, -2.0)]], cum_log_prob=-3.0),
        TokenChunk([], finish="length"),
    ):
        pending.add(1, chunk)
    tops = [[(12, -1.0)], [(13, -2.0)]]
    assert pending.pop() == (
        1,
        TokenChunk([10, 11, 12, 13], [-1.0, -2.0], tops, "length", cached_tokens=4, cum_log_prob=-3.0),
    )


def test_beams_are_kept_apart() -> None:
    pending: PendingChunks[int] = PendingChunks()
    pending.add(1, TokenChunk([10], sequence=0, last=False, finish="stop"))
    pending.add(1, TokenChunk([11], sequence=1, finish="length"))
    assert [pending.pop()[1].sequence, pending.pop()[1].sequence, bool(pending)] == [0, 1, False]


def test_what_waits_for_a_key_can_be_taken_away() -> None:
    pending: PendingChunks[str] = PendingChunks()
    pending.add("a", TokenChunk([1]))
    pending.add("b", TokenChunk([2]))
    pending.add("a", TokenChunk([3]))
    assert pending.take("a") == TokenChunk([1, 3])
    assert pending.take("a") is None
    assert pending.pop() == ("b", TokenChunk([2]))
    assert not pending
