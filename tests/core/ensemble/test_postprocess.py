"""Postprocessor: each chunk alone, the bytes of all chunks joined always those of the text."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton.ensemble.postprocess import Postprocessor
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.random_streams import RandomStreams


def decode(postprocess: Postprocessor, ids: list[int], request_id: str) -> bytes:
    tokens, lengths = np.array([[ids]], np.int32), np.array([[len(ids)]], np.int32)
    return bytes(postprocess.decode(tokens, lengths, request_id).item())


@pytest.mark.parametrize("name", ["", "7"], ids=["no request id", "request id"])
def test_the_bytes_joined_are_those_of_the_text(qwen3: Tokenizer, name: str) -> None:
    """2,000 random streams in chunks; with an id every piece but an unfinished end is whole characters."""
    streams, postprocess = RandomStreams(qwen3, seed=3), Postprocessor(qwen3)
    for number in range(2000):
        ids = streams.stream()
        rid = name and f"{name}-{number}"
        pieces = [decode(postprocess, list(part), rid) for part in streams.cut(ids)]
        whole = b"".join(qwen3.token_bytes(i) for i in ids if not qwen3.is_special(i))
        joined = b"".join(pieces)
        assert whole.startswith(joined)
        assert len(whole) - len(joined) <= (3 if name else 0)


def test_streams_of_different_ids_do_not_mix(qwen3: Tokenizer) -> None:
    id_of = {data: i for i, data in qwen3.bytes_by_id.items() if len(data) == 1}
    postprocess, text = Postprocessor(qwen3), {"a": b"", "b": b""}
    for first, second in zip("🙂".encode(), "🙃".encode(), strict=True):
        text["a"] += decode(postprocess, [id_of[bytes([first])]], "a")
        text["b"] += decode(postprocess, [id_of[bytes([second])]], "b")
    assert text == {"a": "🙂".encode(), "b": "🙃".encode()}


def test_ids_beyond_the_sequence_length_are_padding(qwen3: Tokenizer) -> None:
    hello, there = qwen3.encode("hello there")
    texts = Postprocessor(qwen3).decode(
        np.array([[[hello, there], [hello, 0]]], np.int32), np.array([[2, 1]], np.int32), ""
    )
    assert texts.tolist() == [b"hello there", b"hello"]
