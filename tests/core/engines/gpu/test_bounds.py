"""Bounds that a GPU library would check in a step, for all: refused before, by field."""

from __future__ import annotations

import pytest

from qwen_triton.engines.gpu.bounds import MOST_BIASES, check_biases, check_ids, check_prompt
from qwen_triton.errors import InvalidRequest


def test_what_is_within_is_taken() -> None:
    check_prompt([0, 99], 3, 100)
    check_ids([], 100, "stop_token_ids")
    check_biases(dict.fromkeys(range(MOST_BIASES), -1.0), 5000)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "input_ids: must have 1 to 9 tokens, got 0"),
        ([1] * 10, "input_ids: must have 1 to 9 tokens, got 10"),
        ([1, -1], "input_ids: token ids must be in [0, 100)"),
        ([100], "input_ids: token ids must be in [0, 100)"),
    ],
)
def test_a_prompt(ids: list[int], words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_prompt(ids, 10, 100)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        ({100: 1.0}, "logit_bias: token ids must be in [0, 100)"),
        ({1: float("inf")}, "logit_bias: a bias must be a finite number"),
    ],
)
def test_biases(bias: dict[int, float], words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_biases(bias, 100)
    assert str(refused.value) == words


def test_too_many_biases() -> None:
    with pytest.raises(InvalidRequest, match=r"^logit_bias: at most 1024 tokens, got 1025"):
        check_biases(dict.fromkeys(range(1025), 1.0), 5000)
