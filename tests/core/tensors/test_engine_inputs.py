"""Requests to NVIDIA's backend: its names and shapes, only what it declares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.contract import ENGINE_INPUTS
from qwen_triton.tensors.engine_inputs import (
    decode_engine,
    decode_lora,
    encode_engine_request,
    encode_lora,
    encode_stop_request,
)
from qwen_triton.tensors.rows import Row
from qwen_triton.types import EngineRequest, LoraTask, SamplingParams

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


def test_an_adapter_s_name_is_a_row_s_text() -> None:
    """Triton takes the last dimension off, so the model gets texts of shape [rows]."""
    assert encode(lora_name="pirate")["lora_name"] == [[b"pirate"]]
    request = EngineRequest((5, 6), SamplingParams(max_tokens=9, seed=3), lora_name="pirate")
    sent = encode_engine_request(request, DECLARED, True, 10)
    flat = {name: array if name == "input_ids" else array[:, 0] for name, array in sent.items()}
    assert decode_engine(flat, echo=False)[0].request.lora_name == "pirate"


WEIGHTS = np.array([[[1.5, -2.0, 0.25], [0.0, 65504.0, -0.5]]], np.float16)
CONFIG = np.array([[[0, 0, 8], [1, 27, 16]]], np.int32)


def test_an_adapter_goes_to_the_backend_as_it_was_sent() -> None:
    """The first request of a task has weights and config, later ones the number alone; 0 is a number too."""
    arrays = {"lora_task_id": np.array([[2**63]], np.uint64), "lora_weights": WEIGHTS, "lora_config": CONFIG}
    task = decode_lora(Row(arrays, 0))
    assert task == LoraTask(2**63, 2, WEIGHTS.tobytes(), CONFIG.tobytes())
    sent = encode_lora(task)
    assert {n: (a.dtype, a.shape) for n, a in sent.items()} == {n: (a.dtype, a.shape) for n, a in arrays.items()}
    assert all((sent[name] == array).all() for name, array in arrays.items())
    assert decode_lora(Row({"lora_task_id": np.array([[0]], np.uint64)}, 0)) == LoraTask(0)
    assert encode(lora_task=LoraTask(0))["lora_task_id"] == [[0]]
    assert decode_lora(Row({"text_input": np.array([[b"x"]], object)}, 0)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_config": None}, "lora_config: is missing or empty; it goes with lora_weights"),
        ({"lora_weights": None}, "lora_weights: is missing or empty; it goes with lora_config"),
        ({"lora_weights": WEIGHTS[:, :0]}, "lora_weights: is missing or empty; it goes with lora_config"),
        ({"lora_task_id": None}, "lora_task_id: is missing; lora_weights are those of a task"),
        ({"lora_config": CONFIG[:, :1]}, "lora_config: expected 3 values for each of the 2 modules of lora_weights"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(changes: dict[str, Any], message: str) -> None:
    arrays = {"lora_task_id": np.array([[7]], np.uint64), "lora_weights": WEIGHTS, "lora_config": CONFIG, **changes}
    with pytest.raises(InvalidRequest, match=f"^{message}"):
        decode_lora(Row({name: array for name, array in arrays.items() if array is not None}, 0))


def test_metrics_are_asked_for_where_the_model_declares_them() -> None:
    assert encode(DECLARED | {"return_perf_metrics"}, perf_metrics=True)["return_perf_metrics"] == [[True]]
    assert "return_perf_metrics" not in encode(DECLARED | {"return_perf_metrics"})
    with pytest.raises(InvalidRequest, match="return_perf_metrics: the engine model does not take it"):
        encode(perf_metrics=True)
