"""Reasons why TensorRT-LLM does not start, in its words, and what helps. Imports no tensorrt_llm."""

from __future__ import annotations

import re

from ..gpu.startup import Explainer

REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"Only \d+ GPUs are available, but \d+ are required",
        "lower engine.tensor_parallel_size × pipeline_parallel_size, or give the server more GPUs",
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory|OutOfMemory",
        "lower engine.max_batch_size, engine.max_num_tokens or free_gpu_memory_fraction of engine.kv_cache_config, quantize "
        "the model, or share it among more GPUs (engine.tensor_parallel_size)",
    ),
    (r"got invalid argument: (\w+)", r"leave \1 out of engine.extra, or install a release that has it"),
    (
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "install a driver for this TensorRT-LLM's CUDA",
    ),
    (
        r"MPI_ERR_SPAWN|not enough slots available|orted|MPI_Comm_spawn",
        "the workers are started by Open MPI: the engine's process needs its programs on PATH, and as root "
        "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    ),
    (r"No module named '(\w+)'", r"install \1 into the interpreter that engine.python names"),
)
"""(pattern of a cause, what helps)."""
STARTUP = Explainer(
    hidden=re.compile("Executor worker returned error|Executor worker died during initialization"),
    prefix=re.compile(r"^(?:\[[\d/]+-[\d:]+\] )?(?:\[TRT-LLM\] )?(?:\[RANK \d+\] )?(?:\[[A-Z]\] )?"),
    remedies=REMEDIES,
)
"""A log record begins with its time, the library's name, the rank and the level."""
