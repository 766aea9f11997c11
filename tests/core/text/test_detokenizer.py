"""Detokenizer: pieces of any cut, joined, are the one-shot decode of the tokenizers library."""

from __future__ import annotations

import itertools

import pytest

from qwen_triton.text.detokenizer import Detokenizer
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.random_streams import RandomStreams
from tests.tools.fuzz_text import differences


def pieces(tokenizer: Tokenizer, chunks: list[list[int]], skip: bool = True) -> list[str]:
    detokenizer = Detokenizer(tokenizer, skip)
    return [*(detokenizer.feed(ids) for ids in chunks), detokenizer.flush()]


@pytest.mark.parametrize("family", ["qwen25", "qwen3"])
def test_100_000_random_streams_equal_one_shot_decode(family: str, request: pytest.FixtureRequest) -> None:
    """Random cuts of each stream, token by token, and every cut into two of the short ones; both special modes."""
    tokenizer = request.getfixturevalue(family)
    streams = RandomStreams(tokenizer, seed=20240607)
    for number in range(50_000):
        ids, skip = streams.stream(), bool(number % 2)
        assert differences(tokenizer, streams, ids, skip) == []


def test_bytes_that_are_not_utf8_are_replaced_as_the_library_does(qwen3: Tokenizer) -> None:
    """Every run of up to four bytes out of those at which UTF-8's rules change, byte by byte."""
    edges = b"\x00\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xe1\xed\xee\xef\xf0\xf1\xf4\xf5\xff"
    id_of = {data: i for i, data in qwen3.bytes_by_id.items() if len(data) == 1}
    for length in (1, 2, 3):
        for run in itertools.product(edges, repeat=length):
            ids = [id_of[bytes([byte])] for byte in run]
            assert "".join(pieces(qwen3, [[i] for i in ids])) == qwen3.decode(ids), run
    for tail in itertools.product(b"\x80\x8f\x90\xbf\xc2\x41", repeat=3):
        for lead in b"\xe0\xed\xf0\xf1\xf4\xf5":
            ids = [id_of[bytes([byte])] for byte in (lead, *tail)]
            assert "".join(pieces(qwen3, [[i] for i in ids])) == qwen3.decode(ids), (lead, tail)


def test_a_split_character_waits_for_its_last_byte(qwen3: Tokenizer) -> None:
    """The emoji is four single-byte tokens here; nothing is shown before the fourth, and no U+FFFD ever."""
    id_of = {data: i for i, data in qwen3.bytes_by_id.items() if len(data) == 1}
    ids = [id_of[bytes([byte])] for byte in "🙂".encode()]
    assert pieces(qwen3, [[i] for i in ids]) == ["", "", "", "🙂", ""]


def test_an_unfinished_character_at_the_end_is_one_replacement(qwen3: Tokenizer) -> None:
    """Three of the emoji's four bytes: U+FFFD comes with flush(), once."""
    id_of = {data: i for i, data in qwen3.bytes_by_id.items() if len(data) == 1}
    ids = [id_of[bytes([byte])] for byte in "🙂".encode()[:3]]
    assert pieces(qwen3, [ids]) == ["", "\ufffd"]


def test_memory_is_at_most_three_bytes(qwen3: Tokenizer) -> None:
    """However many lead bytes follow one another."""
    lead = next(i for i, data in qwen3.bytes_by_id.items() if data == b"\xf0")
    detokenizer = Detokenizer(qwen3)
    for _ in range(1000):
        detokenizer.feed([lead])
        assert len(detokenizer.pending) <= 3


def test_sequences_are_kept_apart(qwen3: Tokenizer) -> None:
    """Two detokenizers fed in turn do not mix their half characters."""
    id_of = {data: i for i, data in qwen3.bytes_by_id.items() if len(data) == 1}
    first, second = Detokenizer(qwen3), Detokenizer(qwen3)
    text = ["", ""]
    for a, b in zip("🙂".encode(), "🙃".encode(), strict=True):
        text[0] += first.feed([id_of[bytes([a])]])
        text[1] += second.feed([id_of[bytes([b])]])
    assert text == ["🙂", "🙃"]


def test_ids_beyond_the_vocabulary_add_nothing(qwen3: Tokenizer) -> None:
    """Negative ones and those of the padded part of the logits."""
    assert pieces(qwen3, [[151935], [-1], qwen3.encode("a"), [-1, 10**9]]) == ["", "", "a", "", ""]
