"""Postprocessor: each chunk alone, the bytes of all chunks joined always those of the text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qwen_triton.ensemble.postprocess import Postprocessor
from qwen_triton.errors import InvalidRequest
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


def test_the_first_chunk_waits_for_no_table(qwen3_folder: Path) -> None:
    """The tables are built with the model: a first chunk that built them would hold up all streams for most of a second."""
    tokenizer = Tokenizer.from_folder(qwen3_folder)
    Postprocessor(tokenizer)
    assert {"bytes_by_id", "shown_text"} <= vars(tokenizer).keys()


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


@pytest.mark.parametrize(
    ("tokens", "lengths", "message"),
    [
        (
            [[[1, 2, 3], [4, 5, 6]]],
            [[3]],
            "SEQUENCE_LENGTH: has shape [1, 1] where TOKENS_BATCH has [1, 2] rows and sequences; give one length for each",
        ),
        ([[[1, 2, 3]]], [[-1]], "SEQUENCE_LENGTH: is -1 where TOKENS_BATCH has 3 ids"),
        ([[[1, 2, 3]]], [[5]], "SEQUENCE_LENGTH: is 5 where TOKENS_BATCH has 3 ids"),
        ([[[1, 999_999, 3]]], [[3]], "TOKENS_BATCH: token id 999999 is not in [0, {size})"),
        ([[[1, 2, 3]], [[1, -4, 3]]], [[3], [3]], "TOKENS_BATCH: token id -4 is not in [0, {size}) (row 1)"),
        ([[[1, 2, 3]], [[1, 2, 3]]], [[3], [4]], "SEQUENCE_LENGTH: is 4 where TOKENS_BATCH has 3 ids (row 1)"),
    ],
)
def test_what_no_engine_sends_is_refused_by_name(
    qwen3: Tokenizer, tokens: list[list[list[int]]], lengths: list[list[int]], message: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Postprocessor(qwen3).decode(np.array(tokens, np.int32), np.array(lengths, np.int32), "")
    assert str(refusal.value) == message.format(size=qwen3.model_vocab_size)


def test_unused_ids_of_the_model_have_no_text(qwen3: Tokenizer) -> None:
    """A model's vocabulary is larger than its tokenizer's, so it may generate an id that stands for nothing."""
    assert qwen3.model_vocab_size > qwen3.vocab_size
    assert decode(Postprocessor(qwen3), [*qwen3.encode("a"), qwen3.model_vocab_size - 1], "") == b"a"
