"""Reply: which responses a request gets, and when, by its plans and by how many responses its model may send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from qwen_triton.serving.answer import ChoiceIndex, SequenceAnswer
from qwen_triton.serving.reply import Reply, RowPlan
from qwen_triton.serving.request_metrics import RequestMetrics
from qwen_triton.serving.token_answer import TokenStream
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams, TextChunk, TokenChunk

ONE = EngineRequest((1,), SamplingParams(max_tokens=9, seed=1))
BEAMS = EngineRequest((1,), SamplingParams(max_tokens=9, seed=1, beam_width=2, n=2))

Told = list[tuple[int, list[tuple[int, list[int]]]]]
"""What a response holds: by row its sequences, each with its ids."""


class ListedAnswers:
    """An AnswerEncoder whose arrays are lists of what they hold."""

    def __init__(self) -> None:
        self.prompts: list[tuple[int, PromptLogProbs]] = []

    def add_prompt(self, row: int, request: EngineRequest, prompt: PromptLogProbs) -> None:
        assert request is ONE
        self.prompts.append((row, prompt))

    def open(self, row: int, request: EngineRequest, sequence: int) -> TokenStream:
        return TokenStream(len(request.token_ids) + row, sequence)

    def piece(self, piece: TextChunk, choice: ChoiceIndex) -> Mapping[str, Any]:
        return {"told": [(choice.row, [(choice.sequence, [*piece.token_ids])])]}

    def whole(self, rows: Mapping[int, Sequence[SequenceAnswer]]) -> Mapping[str, Any]:
        return {"told": [(row, [(a.sequence, [*a.token_ids]) for a in answers]) for row, answers in rows.items()]}


class Written:
    """A Responder that keeps what was written."""

    request_id = ""

    def __init__(self) -> None:
        self.told: list[tuple[Told, bool]] = []

    def write(self, arrays: Mapping[str, Any], *, final: bool) -> None:
        self.told.append((arrays["told"], final))

    def flush(self) -> None: ...

    def fail(self, error: Exception) -> None:
        raise error

    def gone(self) -> bool:
        return False


def reply(written: Written, *plans: RowPlan, at_once: bool = False) -> Reply:
    encoder: Any = ListedAnswers()
    return Reply(written, plans, encoder, RequestMetrics().start(), at_once=at_once)


def chunk(*ids: int, end: bool = False, **more: Any) -> TokenChunk:
    return TokenChunk(ids, finish="length" if end else None, **more)


def whole(sequences: int = 1, keep: int = 1) -> RowPlan:
    return RowPlan([ONE] * sequences, streamed=False, keep=keep)


def test_each_whole_answer_is_a_response_when_it_ends() -> None:
    """In the order in which they end, with the row and the sequence; the last to end is the final one."""
    written = Written()
    sent = reply(written, whole(), whole(2, 2))
    sent.add_chunk(2, chunk(5))
    sent.add_chunk(2, chunk(6, end=True))
    assert written.told == [([(1, [(1, [5, 6])])], False)]
    sent.add_chunk(0, chunk(7, end=True))
    sent.add_chunk(1, chunk(8, end=True))
    assert written.told[1:] == [([(0, [(0, [7])])], False), ([(1, [(0, [8])])], True)]


def test_log_probs_of_a_prompt_are_the_row_s() -> None:
    encoder: Any = ListedAnswers()
    found = PromptLogProbs([-0.5])
    sent = Reply(Written(), [whole(2, 2), whole()], encoder, RequestMetrics().start(), at_once=False)
    sent.add_chunk(1, chunk(5))
    sent.add_chunk(2, chunk(5, prompt=found))
    sent.add_chunk(2, chunk(5))
    assert encoder.prompts == [(1, found)]


def test_one_response_has_all_rows_in_order() -> None:
    written = Written()
    sent = reply(written, whole(2, 2), whole(2, 2), at_once=True)
    for index in (3, 0, 2, 1):
        sent.add_chunk(index, chunk(index, end=True))
    assert written.told == [([(0, [(0, [0]), (1, [1])]), (1, [(0, [2]), (1, [3])])], True)]


def test_a_streamed_row_and_a_whole_one() -> None:
    """Each as its row asks."""
    written = Written()
    sent = reply(written, RowPlan([ONE], streamed=True, keep=1), whole())
    sent.add_chunk(1, chunk(5))
    sent.add_chunk(0, chunk(6))
    sent.add_chunk(1, chunk(7, end=True))
    sent.add_chunk(0, chunk(8, end=True))
    assert written.told == [([(0, [(0, [6])])], False), ([(1, [(0, [5, 7])])], False), ([(0, [(0, [8])])], True)]


def test_beams_are_one_response() -> None:
    written = Written()
    sent = reply(written, RowPlan([BEAMS], streamed=False, keep=2), whole())
    sent.add_chunk(1, chunk(9, end=True))
    sent.add_chunk(0, chunk(5, end=True, sequence=0, last=False))
    sent.add_chunk(0, chunk(6, end=True, sequence=1))
    assert written.told == [([(1, [(0, [9])])], False), ([(0, [(0, [5]), (1, [6])])], True)]


@pytest.mark.parametrize("at_once", [False, True])
def test_the_likeliest_are_kept_and_numbered_anew(at_once: bool) -> None:
    """Known when all have ended; a caller who asked for two gets sequences 0 and 1."""
    written = Written()
    sent = reply(written, whole(3, 2), at_once=at_once)
    for index, log_prob in ((0, -9.0), (2, -1.0), (1, -5.0)):
        assert written.told == []
        sent.add_chunk(index, TokenChunk((index,), (log_prob,), finish="length"))
    if at_once:
        assert written.told == [([(0, [(0, [2]), (1, [1])])], True)]
    else:
        assert written.told == [([(0, [(0, [2])])], False), ([(0, [(1, [1])])], True)]
