"""Requests to NVIDIA's backend: its names and shapes, only what it declares, and what its answers say."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.contract import ENGINE_INPUTS
from qwen_triton.tensors.engine_inputs import encode_engine_request, encode_stop_request
from qwen_triton.tensors.engine_outputs import decode_beams, decode_token_ids, finish_reason
from qwen_triton.types import EngineRequest, SamplingParams

DECLARED = frozenset(t.name for t in ENGINE_INPUTS) - {"seed", "min_tokens"}
"""As TensorRT-LLM 0.14's model has it."""


def encode(declared: frozenset[str] = DECLARED, **changes: object) -> dict[str, object]:
    request = EngineRequest(token_ids=(5, 6, 7), **{"sampling": SamplingParams(max_tokens=9, seed=3), **changes})  # type: ignore[arg-type]
    return {k: v.tolist() for k, v in encode_engine_request(request, declared, True, 10).items()}


def test_a_plain_request_is_greedy_and_complete() -> None:
    assert encode(end_ids=(1,), pad_id=2) == {
        "input_ids": [[5, 6, 7]],
        "input_lengths": [[3]],
        "request_output_len": [[9]],
        "end_id": [[1]],
        "pad_id": [[2]],
        "streaming": [[True]],
        "exclude_input_in_output": [[True]],
        "runtime_top_k": [[1]],
        "random_seed": [[3]],
    }


def test_every_other_way_to_stop_goes_along_as_words() -> None:
    """The second end id, the stop ids, the stop strings as the tokenizer spells them."""
    sent = encode(end_ids=(1, 2), stop_token_ids=(4,), stop_sequences=((8, 9),))
    assert sent["end_id"] == [[1]]
    assert sent["stop_words_list"] == [[[2, 4, 8, 9], [1, 2, 4, -1]]]


def test_an_input_goes_under_the_name_that_the_model_has() -> None:
    """0.20 renamed two; a model that has neither refuses by name."""
    renamed = (DECLARED - {"random_seed"}) | {"seed"}
    assert encode(renamed)["seed"] == [[3]]
    with pytest.raises(InvalidRequest, match="random_seed: the engine model does not take it"):
        encode(DECLARED - {"random_seed"})


def test_biases_are_a_row_of_the_vocabulary() -> None:
    assert encode(bias={2: 1.5})["embedding_bias"] == [[0, 0, 1.5, 0, 0, 0, 0, 0, 0, 0]]


def test_a_stop_request_says_stop() -> None:
    assert encode_stop_request()["stop"].tolist() == [[True]]


def raw(values: object, dtype: type) -> bytes:
    return np.array(values, dtype).tobytes()


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
