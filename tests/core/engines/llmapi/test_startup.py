"""Words of TensorRT-LLM for a start that failed: the cause in its workers' log, and what helps."""

from __future__ import annotations

import pytest

from qwen_triton.engines.llmapi.startup import STARTUP

PREFIX = "[11/29/2026-12:00:00] [TRT-LLM] [RANK 1] [E] "


def test_the_cause_is_the_last_error_of_the_workers_that_has_a_remedy() -> None:
    lines = [
        f"{PREFIX}Failed to initialize executor on rank 1: see below",
        f"{PREFIX}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: Executor worker returned error",
        "ValueError: something that follows from it",
    ]
    assert STARTUP.find_cause(lines) == "CUDA out of memory. Tried to allocate 2.00 GiB."
    assert STARTUP.find_cause(lines[2:]) == "something that follows from it"
    assert STARTUP.find_cause(["RuntimeError: Executor worker died during initialization"]) == ""


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (
            "Only 1 GPUs are available, but 2 are required.",
            "lower engine.tensor_parallel_size × pipeline_parallel_size",
        ),
        ("CUDA error: out of memory", "lower engine.max_batch_size, engine.max_num_tokens or free_gpu_memory_fraction"),
        ("LLM got invalid argument: max_model_len", "leave max_model_len out of engine.extra"),
        ("MPI_ERR_SPAWN: could not spawn processes", "the workers are started by Open MPI"),
        ("No module named 'msgpack'", "install msgpack into the interpreter that engine.python names"),
        ("something else", ""),
    ],
)
def test_remedies(cause: str, remedy: str) -> None:
    found = STARTUP.find_remedy(cause)
    assert found.startswith(remedy)
    assert bool(found) == bool(remedy)
