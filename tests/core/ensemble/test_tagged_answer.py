"""Chunks of a tracked request carry a tag that the ledger knows; the last one and whole answers have none."""

from __future__ import annotations

import time

import numpy as np

from qwen_triton.ensemble.ack_ledger import AckLedger
from qwen_triton.ensemble.ack_tag import read_tag
from qwen_triton.ensemble.tagged_answer import TaggedTokenEncoder
from qwen_triton.serving.answer import ChoiceIndex, SequenceAnswer
from qwen_triton.tensors.engine_inputs import EngineRow
from qwen_triton.types import EngineRequest, SamplingParams, StopConditions, TextChunk, Usage

PLACE = ChoiceIndex(0, 0, True, True)
ROW = EngineRow(EngineRequest((1, 2), SamplingParams(max_tokens=9)), StopConditions(), for_text=True, echo=False)


def test_a_chunk_is_tagged_and_entered_in_the_ledger() -> None:
    ledger = AckLedger()
    number = ledger.begin("e")
    encoder = TaggedTokenEncoder([ROW], None, ledger, 6, number)
    before_ns = time.monotonic_ns()
    arrays = encoder.piece(TextChunk("ab", (7, 8)), PLACE)
    tag = read_tag(arrays["output_ids"])
    assert tag is not None
    assert tag[:2] == (6, number)
    assert before_ns <= tag.send_begun_ns <= time.monotonic_ns()
    assert arrays["output_ids"][0, 0, :2].tolist() == [7, 8]
    assert arrays["sequence_length"].tolist() == [[2]]
    assert [chunk.send_begun_ns for chunk in ledger._requests[number].unacked] == [tag.send_begun_ns]


def test_the_last_chunk_and_a_whole_answer_have_no_tag() -> None:
    ledger = AckLedger()
    number = ledger.begin("e")
    encoder = TaggedTokenEncoder([ROW], None, ledger, 6, number)
    end = TextChunk("ab", (7, 8, 9, 10, 11), finish="stop", usage=Usage(2, 5))
    assert np.array_equal(encoder.piece(end, PLACE)["output_ids"], [[end.token_ids]])
    answer = SequenceAnswer(0)
    answer.add(end)
    assert np.array_equal(encoder.whole({0: [answer]})["output_ids"], [[end.token_ids]])
    assert not ledger._requests[number].unacked
