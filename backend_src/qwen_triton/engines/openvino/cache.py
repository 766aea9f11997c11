"""Size of the key/value cache in blocks, from the options, the model's shape and the free memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino_genai as genai

from ...errors import ConfigurationError
from .options import OpenVinoOptions
from .profiles import PROFILES

GIB = 1 << 30
BLOCK_TOKENS = 32
"""Tokens in one block of the key/value cache on a CPU."""


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """What the key/value cache and the checks of a request depend on, from a config.json."""

    vocab: int
    max_positions: int
    cached_numbers: int
    """How many numbers of keys and values there are per token, over all layers."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelSizes:
        """Raises ConfigurationError for a config.json without these keys."""
        try:
            heads = int(config["num_attention_heads"])
            head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
            rows = 2 * int(config["num_hidden_layers"]) * int(config["num_key_value_heads"])
            return cls(int(config["vocab_size"]), int(config["max_position_embeddings"]), rows * head_dim)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"config.json: not that of a dense text model ({error!r}); use another") from error


def cache_blocks(options: OpenVinoOptions, sizes: ModelSizes, model_bytes: int) -> int:
    """Blocks of the key/value cache. Memory is taken when a block is first used, so this is an upper bound.

    Without `cache_gib`: half of what is free beside the model (which needs about twice its file), 0.25 to 8 GiB, and
    never more than all sequences could fill.
    """
    row_bytes = sizes.cached_numbers * PROFILES[options.profile].cache_bytes
    if options.cache_gib is not None:
        budget = options.cache_gib * GIB
    else:
        budget = min(max((free_memory() - 2 * model_bytes) / 2, GIB / 4), 8 * GIB)
        budget = min(budget, options.max_num_seqs * (sizes.max_positions + BLOCK_TOKENS) * row_bytes)
    return max(1, int(budget / (row_bytes * BLOCK_TOKENS)))


def free_memory() -> int:
    """Bytes that this process may still take: the machine's free memory or what its control group leaves it."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = _kernel_number(Path("/proc/meminfo"), "MemAvailable:", 1024) or pages
    limit = _kernel_number(Path("/sys/fs/cgroup/memory.max"))
    used = _kernel_number(Path("/sys/fs/cgroup/memory.current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def _kernel_number(path: Path, label: str = "", unit: int = 1) -> int | None:
    """The number after `label`, or None where the kernel has no such file or sets no limit."""
    try:
        after = path.read_text().partition(label)[2].split() if label else path.read_text().split()
    except OSError:
        return None
    return int(after[0]) * unit if after and after[0].isdigit() else None


def scheduler(options: OpenVinoOptions, blocks: int) -> genai.SchedulerConfig:
    """The scheduler's settings. Long prompts are split, so that one step never takes more than its tokens."""
    config = genai.SchedulerConfig()
    config.num_kv_blocks = blocks
    config.max_num_seqs = options.max_num_seqs
    config.max_num_batched_tokens = options.max_num_batched_tokens
    config.enable_prefix_caching = options.prefix_caching
    config.dynamic_split_fuse = True
    return config
