"""What an operator sets for the OpenVINO engine, and what that means: profiles, cache size, scheduler."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
import openvino_genai as genai

from ...checkpoint.hub import HUBS, Hub
from ...errors import ConfigurationError
from .weights import WeightFormat

GIB = 1 << 30
BLOCK_TOKENS = 32
"""Tokens in one block of the key/value cache on a CPU."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How weights are stored and numbers computed; `properties` are the CPU plugin's.

    `cache_bytes`: what one number of the key/value cache takes, its share of scales included.
    """

    weights: WeightFormat
    properties: Mapping[str, str]
    cache_bytes: float
    needs_bf16: bool = False


_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
_BF16 = {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "f16"}
PROFILES: Mapping[str, Profile] = {
    "exact": Profile("stored", _EXACT, 4),
    "bf16": Profile("stored", _BF16, 2, needs_bf16=True),
    "int8": Profile("int8", _EXACT, 4),
    "int8-fast": Profile("int8", {}, 1.25),
}
"""exact: the checkpoint's weights, f32 arithmetic; an answer does not depend on what else is in the batch, and greedy
output equals that of transformers in f32. bf16: the same weights, bf16 arithmetic. int8: rounded weights, f32
arithmetic, still independent of the batch. int8-fast: rounded weights, and what the plugin finds fastest here."""


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """`model` is a folder or a name on `hub`. None: `cache_gib` from the free memory, `threads` all physical cores,
    `conversion_cache` the user's cache folder."""

    model: str
    hub: Hub = "huggingface"
    profile: str = "exact"
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 256
    cache_gib: float | None = None
    threads: int | None = None
    prefix_caching: bool = True
    conversion_cache: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (("profile", list(PROFILES)), ("hub", list(HUBS))):
            if getattr(self, name) not in choices:
                raise ConfigurationError(f"{name}: must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("max_num_seqs", "max_num_batched_tokens", "threads"):
            value = getattr(self, name)
            if not (name == "threads" and value is None) and (type(value) is not int or value < 1):
                raise ConfigurationError(f"{name}: must be a whole number of at least 1, got {value!r}")
        if self.cache_gib is not None and not (type(self.cache_gib) in (int, float) and 0 < self.cache_gib < 1 << 20):
            raise ConfigurationError(f"cache_gib: must be a number of GiB larger than 0, got {self.cache_gib!r}")
        if not isinstance(self.model, str) or not self.model:
            raise ConfigurationError(f"model: must be a folder or a hub name, got {self.model!r}")
        if not isinstance(self.conversion_cache, (str, type(None))):
            raise ConfigurationError(f"conversion_cache: must be a folder, got {self.conversion_cache!r}")
        if not isinstance(self.prefix_caching, bool):
            raise ConfigurationError(f"prefix_caching: must be true or false, got {self.prefix_caching!r}")

    def properties(self, capabilities: Sequence[str]) -> dict[str, Any]:
        """The CPU plugin's properties. `capabilities` are what this CPU computes with, as the plugin lists them.

        Raises ConfigurationError when the profile needs more than that.
        """
        profile = PROFILES[self.profile]
        if profile.needs_bf16 and "BF16" not in capabilities:
            raise ConfigurationError(f"profile: {self.profile} needs a CPU with bf16 arithmetic; use exact or int8")
        threads = {} if self.threads is None else {"INFERENCE_NUM_THREADS": self.threads}
        return {**profile.properties, **threads}


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


def cpu_capabilities() -> Sequence[str]:
    """Number formats that this machine's CPU computes with, such as FP32, BF16, INT8."""
    return [str(name) for name in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


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
