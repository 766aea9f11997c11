"""Sampling parameters as tensors: every row of the table, both models, both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.rows import Row
from qwen_triton.tensors.sampling import (
    decode_engine_sampling,
    decode_text_sampling,
    encode_engine_sampling,
    encode_text_sampling,
)
from qwen_triton.types import SAMPLING, SamplingParameter, SamplingParams

NAMED = [pytest.param(p, id=p.name) for p in SAMPLING]


def row(values: dict[str, Any]) -> Row:
    arrays: dict[str, Array] = {name: np.array([[value]]) for name, value in values.items()}
    return Row(arrays, 0)


def value_of(parameter: SamplingParameter) -> float:
    return 3 if parameter.kind is int else 0.5


@pytest.mark.parametrize("parameter", NAMED)
def test_a_text_model_reads_what_is_written_for_it(parameter: SamplingParameter) -> None:
    asked = SamplingParams(**{parameter.name: value_of(parameter)})  # type: ignore[arg-type]  # by name, of any field
    expected = asked if parameter.name != "beam_width" else SamplingParams(beam_width=3, n=3)
    assert decode_text_sampling(row(encode_text_sampling(asked))) == expected


@pytest.mark.parametrize("parameter", NAMED)
def test_the_engine_model_reads_every_name_of_a_parameter(parameter: SamplingParameter) -> None:
    for tensor in parameter.engine_tensors:
        sampling = decode_engine_sampling(row({tensor: value_of(parameter)}))
        assert getattr(sampling, parameter.name) == value_of(parameter)


def test_nothing_sent_is_nothing_given() -> None:
    """But a seed, which the engine model settles; two requests have two."""
    assert decode_text_sampling(row({})) == SamplingParams()
    first, second = (decode_engine_sampling(row({})).seed for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"seed": 1, "random_seed": 2}, "random_seed: is another name of seed; give one of them"),
        ({"min_length": 1, "min_tokens": 2}, "min_length: is another name of min_tokens; give one of them"),
        ({"num_return_sequences": 0}, "num_return_sequences: must be in [1, 128], got 0"),
        ({"beam_width": 0}, "beam_width: must be in [1, 128], got 0"),
        ({"beam_width": 1000}, "beam_width: must be in [1, 128], got 1000"),
        ({"temperature": float("nan")}, "temperature: must be in [0, 100], got nan"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: must be in (0, 100], got 0"),
        ({"top_logprobs": 2}, "top_logprobs: needs return_log_probs = true"),
    ],
)
def test_a_wrong_value_is_refused_with_the_caller_s_name(sent: dict[str, Any], message: str) -> None:
    for decode in (decode_text_sampling, decode_engine_sampling):
        with pytest.raises(InvalidRequest) as refusal:
            decode(row(sent))
        assert str(refusal.value) == message


def test_two_names_of_one_value_may_agree() -> None:
    assert decode_text_sampling(row({"seed": 5, "random_seed": 5})).seed == 5


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"runtime_top_k": 1}),
        ({"temperature": 0.0, "top_p": 0.5}, {"runtime_top_k": 1}),
        ({"temperature": 0.5}, {"temperature": 0.5, "runtime_top_k": 0, "runtime_top_p": 1.0}),
        ({"top_k": 4}, {"runtime_top_k": 4, "runtime_top_p": 1.0}),
        ({"beam_width": 2, "n": 2, "length_penalty": 1.5}, {"beam_width": 2, "len_penalty": 1.5, "runtime_top_k": 1}),
        ({"logprobs": 0}, {"return_log_probs": True, "runtime_top_k": 1}),
        ({"repetition_penalty": 1.0, "presence_penalty": 0.0, "min_tokens": 0}, {"runtime_top_k": 1}),
    ],
)
def test_tensorrt_llm_is_told_how_to_choose(asked: dict[str, Any], sent: dict[str, Any]) -> None:
    """Its default is the most likely token whatever the temperature; what asks for nothing is not sent."""
    assert encode_engine_sampling(SamplingParams(**asked)) == sent
