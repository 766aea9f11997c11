"""Rules of rows: every input has one, and one response refuses rows that it could not hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.contract import BLS_INPUTS, ENGINE_INPUTS, ENSEMBLE_INPUTS
from qwen_triton.tensors.rows import ROW_RULES, check_one_response


def test_every_input_has_a_rule() -> None:
    """Most are a row's own."""
    assert {t.name for t in (*BLS_INPUTS, *ENSEMBLE_INPUTS, *ENGINE_INPUTS)} == set(ROW_RULES)
    assert {name for name, rule in ROW_RULES.items() if rule != "own"} == {
        *("num_return_sequences", "beam_width", "return_log_probs"),
        *("return_num_input_tokens", "return_num_output_tokens"),
        *("stream", "streaming", "stop"),
    }


@pytest.mark.parametrize("name", [name for name, rule in ROW_RULES.items() if rule == "alike"])
@pytest.mark.parametrize("rank", [1, 2], ids=["reshaped", "as sent"])
def test_rows_that_must_be_alike(name: str, rank: int) -> None:
    """The engine model gets values without their last dimension."""
    values: list[Any] = [True, False] if name.startswith("return") else [1, 2]
    arrays = {name: np.array(values).reshape(*(2, 1)[:rank])}
    with pytest.raises(InvalidRequest, match=rf"^{name}: has rows that differ, .*repository\.decoupled: true$"):
        check_one_response(arrays)
    check_one_response({name: arrays[name][:1].repeat(3, axis=0)})


@pytest.mark.parametrize("name", ["stream", "streaming"])
def test_a_stream_needs_several_responses(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^stream: this server answers whole"):
        check_one_response({name: np.array([[False], [True]])})
    check_one_response({name: np.array([[False], [False]])})


def test_other_settings_may_differ() -> None:
    check_one_response({"temperature": np.array([[0.5], [1.0]]), "text_input": np.array([[b"a"], [b"b"]], object)})
