"""Reasons why vLLM does not start, in its words, and what helps. Imports no vllm."""

from __future__ import annotations

import re

from ..gpu.startup import Explainer

REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"Free memory on device .* is less than desired GPU memory utilization",
        "end what else uses the GPU (nvidia-smi shows it), or lower engine.gpu_memory_utilization",
    ),
    (
        r"No available memory for the cache blocks",
        "raise engine.gpu_memory_utilization, quantize the model, or share it among more GPUs "
        "(engine.tensor_parallel_size)",
    ),
    (
        r"To serve at least one request with the model's max seq len .*estimated maximum model length is (\d+)",
        r"set engine.max_model_len to \1 or less, engine.kv_cache_dtype: fp8, or a higher engine.tensor_parallel_size",
    ),
    (
        r"To serve at least one request with the model's max seq len",
        "lower engine.max_model_len, set engine.kv_cache_dtype: fp8, or a higher engine.tensor_parallel_size",
    ),
    (
        r"[Ww]orld size .*available GPUs",
        "lower engine.tensor_parallel_size × pipeline_parallel_size, or give the server more GPUs",
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory",
        "lower engine.gpu_memory_utilization, engine.max_num_seqs or engine.max_num_batched_tokens, or quantize the model",
    ),
    (r"Bfloat16 is only supported on GPUs", "set engine.dtype: half"),
    (
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "install driver 580 or newer, which CUDA 13 needs",
    ),
    (r"No module named '(\w+)'", r"install \1 into the interpreter that engine.python names"),
)
"""(pattern of a cause, what helps)."""
STARTUP = Explainer(
    hidden=re.compile("Engine core initialization failed"),
    prefix=re.compile(r"^(?:\([\w ]+ pid=\d+\) )*(?:[A-Z]+ [\d-]+ [\d:]+ \[[^\]]+\] )?"),
    remedies=REMEDIES,
)
"""A line of a vLLM process begins with its name, and a log record with level, time and place."""
