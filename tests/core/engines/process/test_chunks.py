"""Chunks that are kept: joined they are what came, in as few chunks as were asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qwen_triton.engines.process.chunks import ChunkCollector
from qwen_triton.types import TokenChunk

LAST = TokenChunk([9], finish="stop", stop_token=5, cached_tokens=3, cum_log_prob=-4.5)


@st.composite
def answers(draw: st.DrawFn) -> list[TokenChunk]:
    logprobs = draw(st.booleans())
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=40))
    ids = iter(range(1000))
    chunks = []
    for size in sizes:
        tokens = [next(ids) for _ in range(size)]
        probs = ([-0.1 * t for t in tokens], [[(t, -0.1)] for t in tokens]) if logprobs else ()
        chunks.append(TokenChunk(tokens, *probs))
    return chunks


@given(answers(), st.sampled_from([0, 1, 2, 7, 16]), st.booleans())
def test_what_comes_out_is_what_went_in(chunks: list[TokenChunk], least: int, cut_short: bool) -> None:
    collector = ChunkCollector(least)
    given_ids = [t for c in chunks for t in c.token_ids]
    given_probs = [p for c in chunks for p in c.log_probs]
    given_tops = [list(p) for c in chunks for p in c.top_log_probs]
    out = [due for chunk in chunks if (due := collector.add(chunk)) is not None]
    last = LAST._replace(token_ids=[])
    end = collector.end(TokenChunk(finish="cancelled")) if cut_short else collector.add(last)
    assert end is not None
    out.append(end)
    assert [t for c in out for t in c.token_ids] == given_ids
    assert [p for c in out for p in c.log_probs] == given_probs
    assert [list(p) for c in out for p in c.top_log_probs] == given_tops
    assert [c.finish for c in out] == [*([None] * (len(out) - 1)), "cancelled" if cut_short else "stop"]
    if not cut_short:
        assert (end.stop_token, end.cached_tokens, end.cum_log_prob) == (5, 3, -4.5)
    between = out[1:-1]
    assert all(len(c.token_ids) >= least for c in between)
    if least == 0:
        assert between == []


def test_the_first_chunk_is_not_kept() -> None:
    """It says when the answer began, and what it alone has."""
    first = TokenChunk([1], cached_tokens=7)
    collector = ChunkCollector(0)
    assert collector.add(first) is first
    assert [collector.add(TokenChunk([n])) for n in range(2, 6)] == [None] * 4
    assert collector.add(LAST) == LAST._replace(token_ids=[2, 3, 4, 5, 9])


def test_a_collector_leaves_the_engine_s_lists_alone() -> None:
    """An engine may go on with a list that it gave out."""
    collector, ids = ChunkCollector(0), [2]
    collector.add(TokenChunk([1]))
    collector.add(TokenChunk(ids))
    collector.add(TokenChunk([3], [-1.0]))
    assert collector.end(TokenChunk(finish="cancelled")).token_ids == [2, 3]
    assert ids == [2]
