"""What a profile turns into for the CPU plugin, and which CPUs it needs."""

from __future__ import annotations

import pytest

from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.engines.openvino.profiles import plugin_properties
from qwen_triton.errors import ConfigurationError


def test_profiles_fix_what_answers_depend_on() -> None:
    """exact and int8 compute in f32 on every machine; int8-fast leaves the choice to the plugin."""
    f32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    assert plugin_properties(OpenVinoOptions("m"), ["FP32"]) == f32
    assert plugin_properties(OpenVinoOptions("m", profile="int8", threads=2), ["FP32"]) == f32 | {
        "INFERENCE_NUM_THREADS": 2
    }
    assert plugin_properties(OpenVinoOptions("m", profile="int8-fast"), ["FP32"]) == {}


def test_bf16_is_for_cpus_that_have_it() -> None:
    """Where the CPU computes in bf16 the profile says so to the plugin; elsewhere it is refused with the remedy."""
    options = OpenVinoOptions("m", profile="bf16")
    assert plugin_properties(options, ["FP32", "BF16"])["INFERENCE_PRECISION_HINT"] == "bf16"
    with pytest.raises(ConfigurationError) as caught:
        plugin_properties(options, ["FP32", "INT8"])
    assert str(caught.value) == "engine.profile: bf16 needs a CPU with bf16 arithmetic; use exact or int8"
