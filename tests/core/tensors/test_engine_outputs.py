"""Outputs of the engine model: what is encoded is decoded, of one sequence and of several."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.contract import PERF_METRICS
from qwen_triton.tensors.engine_outputs import (
    decode_beams,
    decode_metrics,
    decode_token_ids,
    encode_cum_log_probs,
    encode_log_probs,
    encode_metrics,
    encode_prompt_log_probs,
    encode_prompt_top_log_probs,
    encode_token_ids,
    encode_token_piece,
    encode_top_log_probs,
    finish_reason,
)
from qwen_triton.types import PromptLogProbs


def raw(values: object, dtype: type) -> bytes:
    return np.array(values, dtype).tobytes()


def over_the_wire(arrays: Arrays) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("ids", [[], [7], [7, 8]])
def test_a_piece_is_decoded_as_it_was_encoded(ids: list[int]) -> None:
    arrays = encode_token_piece(ids)
    assert [array.shape for array in arrays.values()] == [(1, 1, len(ids)), (1, 1)]
    assert decode_token_ids(over_the_wire(arrays)) == ids


def test_sequences_are_decoded_as_they_were_encoded() -> None:
    """The shorter one is padded in the array, and its length says where it ends."""
    arrays = {
        **encode_token_ids([[[1, 2], [3]]], pad_ids=[9]),
        **encode_log_probs([[[-0.5, -0.25], [-4.0]]]),
        **encode_cum_log_probs([[-1.0, -2.0]]),
    }
    assert arrays["output_ids"].tolist() == [[[1, 2], [3, 9]]]
    chunks = decode_beams(over_the_wire(arrays))
    assert [chunk.token_ids for chunk in chunks] == [[1, 2], [3]]
    assert [chunk.log_probs for chunk in chunks] == [[-0.5, -0.25], [-4.0]]
    assert [chunk.cum_log_prob for chunk in chunks] == [-1.0, -2.0]


def test_the_likeliest_at_each_place_are_padded() -> None:
    arrays = encode_top_log_probs([[[[(5, -0.5), (6, -1.0)], [(7, -0.25)]], [[(8, -2.0)]]]])
    assert arrays["output_top_token_ids"].tolist() == [[[[5, 6], [7, -1]], [[8, -1], [-1, -1]]]]
    assert arrays["output_top_log_probs"].tolist() == [[[[-0.5, -1.0], [-0.25, 0.0]], [[-2.0, 0.0], [0.0, 0.0]]]]
    assert encode_top_log_probs([[[]]])["output_top_token_ids"].shape == (1, 1, 0, 0)


def test_a_prompt_s_first_token_has_no_log_prob() -> None:
    prompts = [PromptLogProbs([-0.5, -1.0], [[(4, -0.5)], [(9, -0.25)]]), PromptLogProbs()]
    assert encode_prompt_log_probs(prompts)["prompt_log_probs"].tolist() == [[0.0, -0.5, -1.0], [0.0, 0.0, 0.0]]
    arrays = encode_prompt_top_log_probs(prompts)
    assert arrays["prompt_top_token_ids"].tolist() == [[[-1], [4], [9]], [[-1], [-1], [-1]]]
    assert arrays["prompt_top_log_probs"].tolist() == [[[0.0], [-0.5], [-0.25]], [[0.0], [0.0], [0.0]]]
    assert encode_prompt_top_log_probs([PromptLogProbs([-0.5])]) == {}


def test_a_response_is_a_chunk_for_each_beam() -> None:
    outputs = {
        "output_ids": raw([[[1, 2], [3, 0]]], np.int32),
        "sequence_length": raw([[2, 1]], np.int32),
        "cum_log_probs": raw([[-1.0, -2.0]], np.float32),
        "output_log_probs": raw([[[-0.5, -0.25], [-4.0, 0.0]]], np.float32),
    }
    first, second = decode_beams(outputs)
    assert (first.token_ids, first.cum_log_prob, first.last, first.sequence) == ([1, 2], -1.0, False, 0)
    assert (second.token_ids, second.cum_log_prob, second.last, second.sequence) == ([3], -2.0, True, 1)
    assert (first.log_probs, second.log_probs) == ([-0.5, -0.25], [-4.0])


@pytest.mark.parametrize(("ids", "length", "read"), [([7], 1, [7]), ([7, 8, 0], 2, [7, 8]), ([], 0, [])])
def test_the_ids_of_the_only_beam_are_as_many_as_its_length(ids: list[int], length: int, read: list[int]) -> None:
    outputs = {"output_ids": raw([[ids]], np.int32), "sequence_length": raw([[length]], np.int32)}
    assert decode_token_ids(outputs) == read
    assert [chunk.token_ids for chunk in decode_beams(outputs)] == [read]


def test_the_reason_of_an_end_is_the_count() -> None:
    assert [finish_reason(n, 9) for n in (8, 9)] == ["stop", "length"]


def test_metrics_of_sequences_are_columns() -> None:
    """As many as the sequences of a row, of the type that the output has; one that a sequence lacks is left out."""
    first = {"kv_cache_reused_blocks": raw([[3]], np.int32), "arrival_time_ns": raw([[2**40]], np.int64)}
    second = {"kv_cache_reused_blocks": raw([[4]], np.int32), "acceptance_rate": raw([[0.5]], np.float32)}
    arrays = encode_metrics([[first], [second]])
    assert {n: (a.dtype, a.tolist()) for n, a in arrays.items()} == {"kv_cache_reused_blocks": (np.int32, [[3], [4]])}
    assert encode_metrics([[first, first]])["arrival_time_ns"].tolist() == [[2**40, 2**40]]
    assert encode_metrics([[{}]]) == encode_metrics([]) == {}


def test_metrics_of_a_response_are_those_it_has() -> None:
    outputs = {tensor.name: bytes(8) for tensor in PERF_METRICS} | {"output_ids": b"1234"}
    assert decode_metrics(outputs) == {tensor.name: bytes(8) for tensor in PERF_METRICS}
    assert decode_metrics({"output_ids": b"1234"}) == {}
