"""The shim reads what the text model writes: one test holds both ends together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from qwen_triton.chat.reader import opens_thinking
from qwen_triton.serving.answer import ChoiceIndex, SequenceAnswer
from qwen_triton.serving.text_answer import TextEncoder
from qwen_triton.tensors.contract import BLS_OUTPUTS
from qwen_triton.tensors.pieces import LOGPROBS, OUTPUTS, Piece, decode_pieces, merge_pieces
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, GenerateRequest, SamplingParams, TextChunk, TokenChunk, Usage

USAGE = Usage(7, 3, 2)


def raw(arrays: Mapping[str, Any]) -> dict[str, bytes]:
    """Arrays as Triton hands them out."""

    def one(array: Any) -> bytes:
        if array.dtype != np.object_:
            return bytes(array.tobytes())
        return b"".join(len(v).to_bytes(4, "little") + v for v in array.reshape(-1))

    return {name: one(array) for name, array in arrays.items() if name in (*OUTPUTS, LOGPROBS)}


def encoder(qwen3: Tokenizer, prompt_ids: tuple[int, ...] = (9707,), **more: Any) -> TextEncoder:
    request = GenerateRequest(messages=({"role": "user", "content": "x"},), **more)
    found = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
    found.open(0, EngineRequest(prompt_ids, request.sampling), 0)
    return found


def test_the_shim_asks_only_for_what_the_model_has() -> None:
    """An output that no config declares would fail every request."""
    assert {*OUTPUTS, LOGPROBS} <= {t.name for t in BLS_OUTPUTS}


def test_a_streamed_piece(qwen3: Tokenizer) -> None:
    """Most pieces have a text and nothing else."""
    found = raw(encoder(qwen3).piece(TextChunk("你好"), ChoiceIndex(0, 0, True, False)))
    assert list(found) == ["text_output"]
    assert decode_pieces(found) == [Piece("你好")]


def test_a_last_piece(qwen3: Tokenizer) -> None:
    """How it ended and what it cost."""
    chunk = TextChunk("x", finish="stop", stop_reason="###", usage=USAGE)
    found = decode_pieces(raw(encoder(qwen3).piece(chunk, ChoiceIndex(0, 3, False, False))))
    assert found == [Piece("x", 3, "stop", "###", 7, 3, 2)]


def test_pieces_with_counts(qwen3: Tokenizer) -> None:
    """Those up to here, where the request asks for them."""
    request = GenerateRequest(prompt="x", stream=True, count_pieces=True)
    counting = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
    stream = counting.open(0, EngineRequest((1, 2, 3), request.sampling), 0)
    piece = stream.feed(TokenChunk((9707, 1879)))
    assert piece is not None
    assert decode_pieces(raw(counting.piece(piece, ChoiceIndex(0, 0, True, True)))) == [
        Piece("Hello world", prompt_tokens=3, completion_tokens=2)
    ]


def test_whole_answers(qwen3: Tokenizer) -> None:
    """All sequences of a prompt in one response, with log probs."""
    rows = [[SequenceAnswer(0), SequenceAnswer(1)]]
    rows[0][0].add(TextChunk("a", (64,), (-0.5,), (((64, -0.5), (65, -1.5)),), "length", None, USAGE))
    rows[0][1].add(TextChunk("b", (65,), (-0.7,), (), "stop", 65, USAGE, 1))
    whole = encoder(qwen3, sampling=SamplingParams(logprobs=1, n=2)).whole(rows)
    first, second = decode_pieces(raw(whole))
    assert (first.sequence, first.text, first.finish, first.completion_tokens) == (0, "a", "length", 3)
    assert (second.sequence, second.text, second.finish, second.stop_reason) == (1, "b", "stop", 65)
    assert first.logprobs == [
        {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [
            {"token": "a", "bytes": [97], "logprob": -0.5}, {"token": "b", "bytes": [98], "logprob": -1.5}]}
    ]  # fmt: skip


def test_pieces_that_piled_up_become_one_for_each_sequence() -> None:
    """Nothing of them is lost: text and log probs in order, the first's thinking, the last's end and counts."""
    a, b = {"token": "a"}, {"token": "b"}
    piled = [
        Piece("he", 0, prompt_tokens=7, completion_tokens=1, reasoning_opened=True, logprobs=[a]),
        Piece("x", 1),
        Piece("l", 0, prompt_tokens=7, completion_tokens=2, cached_tokens=4, logprobs=[b]),
        Piece("lo", 0, "stop", "###"),
        Piece("", 1, "length", None, 7, 9, 4),
    ]
    assert merge_pieces(piled) == [
        Piece("hello", 0, "stop", "###", 7, 2, 4, [a, b], True, 3),
        Piece("x", 1, "length", None, 7, 9, 4, None, False, 2),
    ]
    assert merge_pieces(piled[:2]) == piled[:2]


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<think>x<|im_start|>assistant\n", False),
        ("no chat at all", False),
        ("<think>", True),
    ],
)
def test_whether_a_prompt_leaves_thinking_open(qwen3: Tokenizer, prompt: str, opened: bool) -> None:
    """Told with the first piece, and with a whole answer."""
    ids = tuple(qwen3.encode(prompt, control_tokens=True))
    assert opens_thinking(ids, qwen3) is opened
    first = raw(encoder(qwen3, ids).piece(TextChunk("x"), ChoiceIndex(0, 0, True, True)))
    assert decode_pieces(first)[0].reasoning_opened is opened
    later = raw(encoder(qwen3, ids).piece(TextChunk("x"), ChoiceIndex(0, 0, True, False)))
    assert decode_pieces(later)[0].reasoning_opened is False
    answer = SequenceAnswer(0)
    answer.add(TextChunk("x", finish="stop", usage=USAGE))
    assert decode_pieces(raw(encoder(qwen3, ids).whole([[answer]])))[0].reasoning_opened is opened
