"""PendingChunks: chunks merge while they wait, oldest sequence first."""

from __future__ import annotations

from qwen_triton.serving.pending import PendingChunks
from qwen_triton.types import TokenChunk


def test_chunks_of_one_sequence_merge_and_the_oldest_comes_first() -> None:
    pending = PendingChunks()
    pending.add(1, [10], None)
    pending.add(2, [20], None)
    pending.add(1, [11], None)
    assert [pending.pop(), pending.pop(), bool(pending)] == [(1, TokenChunk([10, 11])), (2, TokenChunk([20])), False]


def test_log_probs_are_joined_and_the_end_is_kept() -> None:
    pending = PendingChunks()
    pending.add(1, [10], {"log_probs": [-1.0], "cached_tokens": 4})
    pending.add(1, [11], {"log_probs": [-2.0], "finish": "stop", "stop_token": 7})
    assert pending.pop() == (1, TokenChunk([10, 11], [-1.0, -2.0], finish="stop", stop_token=7, cached_tokens=4))


def test_beams_are_kept_apart() -> None:
    pending = PendingChunks()
    pending.add(1, [10], {"sequence": 0, "last": False, "finish": "stop"})
    pending.add(1, [11], {"sequence": 1, "finish": "length"})
    assert [pending.pop()[1].sequence, pending.pop()[1].sequence, bool(pending)] == [0, 1, False]
