"""Profiles of the OpenVINO engine: the stored form of the weights, the CPU plugin's properties, the size of the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openvino as ov

from ...errors import ConfigurationError
from .options import OpenVinoOptions, ProfileName
from .weight_nodes import WeightFormat


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
PROFILES: Mapping[ProfileName, Profile] = {
    "exact": Profile("stored", _EXACT, 4),
    "bf16": Profile("stored", _BF16, 2, needs_bf16=True),
    "int8": Profile("int8", _EXACT, 4),
    "int8-fast": Profile("int8", {}, 1.25),
}
"""exact: the checkpoint's weights, f32 arithmetic; an answer does not depend on what else is in the batch, and greedy
output equals that of transformers in f32. bf16: the same weights, bf16 arithmetic. int8: rounded weights, f32
arithmetic, still independent of the batch. int8-fast: rounded weights, and what the plugin chooses for this CPU."""


def plugin_properties(options: OpenVinoOptions, capabilities: Sequence[str]) -> dict[str, Any]:
    """The CPU plugin's properties. `capabilities` are the number formats of this CPU, as the plugin lists them.

    Raises ConfigurationError when the profile needs a format that the CPU lacks.
    """
    profile = PROFILES[options.profile]
    if profile.needs_bf16 and "BF16" not in capabilities:
        raise ConfigurationError(
            f"engine.profile: {options.profile} needs a CPU with bf16 arithmetic; use exact or int8"
        )
    threads = {} if options.threads is None else {"INFERENCE_NUM_THREADS": options.threads}
    return {**profile.properties, **threads}


def cpu_capabilities() -> Sequence[str]:
    """Number formats that this machine's CPU computes with, such as FP32, BF16, INT8."""
    return [str(name) for name in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
