"""Sampling parameters of a request are completed without being made anew, and are the same as those made anew."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_triton.errors import InvalidRequest
from qwen_triton.types import SAMPLING, SamplingParams

_OTHERS = {"max_tokens", "min_tokens", "n", "best_of"}


@st.composite
def _sampling(draw: st.DrawFn) -> SamplingParams:
    given_values: dict[str, Any] = {}
    for parameter in SAMPLING:
        if parameter.name in _OTHERS or not draw(st.booleans()):
            continue
        low, high = parameter.low, min(parameter.high, 50)
        number = st.integers(int(low), int(high)) if parameter.kind is int else st.floats(low, high)
        given_values[parameter.name] = draw(number.filter(lambda v, p=parameter: not (p.above_low and v == p.low)))
    n = draw(st.integers(1, 4))
    return SamplingParams(**given_values, n=n, best_of=draw(st.sampled_from((None, n, n + 2))))


@given(_sampling(), st.integers(1, 1000), st.integers(0, 2**64 - 1), st.sampled_from((None, 0, 3)))
def test_resolved_is_a_copy_with_length_seed_and_log_probs(
    sampling: SamplingParams, length: int, seed: int, logprobs: int | None
) -> None:
    expected = replace(sampling, max_tokens=length, seed=seed, logprobs=logprobs)
    resolved = sampling.resolved(length, seed, logprobs)
    assert resolved == expected
    assert [getattr(resolved, f.name) for f in fields(resolved)] == [
        getattr(expected, f.name) for f in fields(expected)
    ]


def test_a_length_below_the_fewest_tokens_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"min_tokens: must not be larger than max_tokens \(7\)"):
        SamplingParams(min_tokens=8).resolved(7, 0, None)
