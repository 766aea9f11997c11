"""What an operator may set for the CPU engine, what it turns into, and how large the cache becomes."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.engines.openvino.options import GIB, ModelSizes, OpenVinoOptions, cache_blocks, free_memory, scheduler
from qwen_triton.errors import ConfigurationError

QWEN25_05B = {
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "hidden_size": 896,
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "fp8"}, "profile: must be one of exact, bf16, int8, int8-fast, got 'fp8'"),
        ({"hub": "github"}, "hub: must be one of huggingface, modelscope, got 'github'"),
        ({"max_num_seqs": 0}, "max_num_seqs: must be a whole number of at least 1, got 0"),
        ({"max_num_batched_tokens": "256"}, "max_num_batched_tokens: must be a whole number of at least 1, got '256'"),
        ({"threads": 1.5}, "threads: must be a whole number of at least 1, got 1.5"),
        ({"cache_gib": float("nan")}, "cache_gib: must be a number of GiB larger than 0, got nan"),
        ({"prefix_caching": "yes"}, "prefix_caching: must be true or false, got 'yes'"),
        ({"conversion_cache": 1}, "conversion_cache: must be a folder, got 1"),
        ({"model": ""}, "model: must be a folder or a hub name, got ''"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    """An operator reads which option, what it must be and what it was."""
    with pytest.raises(ConfigurationError) as caught:
        OpenVinoOptions(**({"model": "m"} | options))
    assert str(caught.value) == message


def test_profiles_fix_what_answers_depend_on() -> None:
    """exact and int8 compute in f32 on every machine; int8-fast leaves the choice to the plugin."""
    f32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    assert OpenVinoOptions("m").properties(["FP32"]) == f32
    assert OpenVinoOptions("m", profile="int8", threads=2).properties(["FP32"]) == f32 | {"INFERENCE_NUM_THREADS": 2}
    assert OpenVinoOptions("m", profile="int8-fast").properties(["FP32"]) == {}


def test_bf16_is_for_cpus_that_have_it() -> None:
    """Where the CPU computes in bf16 the profile says so to the plugin; elsewhere it is refused with the remedy."""
    options = OpenVinoOptions("m", profile="bf16")
    assert options.properties(["FP32", "BF16"])["INFERENCE_PRECISION_HINT"] == "bf16"
    with pytest.raises(ConfigurationError) as caught:
        options.properties(["FP32", "INT8"])
    assert str(caught.value) == "profile: bf16 needs a CPU with bf16 arithmetic; use exact or int8"


def test_the_scheduler_gets_what_was_set() -> None:
    """Every option that the scheduler knows arrives there."""
    config = scheduler(OpenVinoOptions("m", max_num_seqs=3, max_num_batched_tokens=99, prefix_caching=False), 17)
    assert (config.max_num_seqs, config.max_num_batched_tokens, config.num_kv_blocks) == (3, 99, 17)
    assert (config.enable_prefix_caching, config.dynamic_split_fuse) == (False, True)


def test_the_cache_is_as_large_as_was_set() -> None:
    """Qwen2.5-0.5B keeps 24 layers x 2 heads x 64 numbers of key and of value per token; a block has 32 tokens."""
    sizes = ModelSizes.from_config(QWEN25_05B)
    assert sizes.cached_numbers == 2 * 24 * 2 * 64
    for profile, number_bytes in (("exact", 4), ("bf16", 2), ("int8", 4), ("int8-fast", 1.25)):
        options = OpenVinoOptions("m", profile=profile, cache_gib=1.5)
        assert cache_blocks(options, sizes, 0) == int(1.5 * GIB / (6144 * number_bytes * 32))
    assert cache_blocks(OpenVinoOptions("m", cache_gib=1e-9), sizes, 0) == 1


def test_left_to_itself_the_cache_fits_the_machine_and_the_model() -> None:
    """A quarter of a GiB at least, eight at most, and no more than the sequences could fill."""
    sizes = ModelSizes.from_config(QWEN25_05B)
    block = 6144 * 4 * 32
    assert cache_blocks(OpenVinoOptions("m"), sizes, free_memory()) == GIB // 4 // block
    assert cache_blocks(OpenVinoOptions("m"), sizes, 0) <= 8 * GIB // block
    small = ModelSizes(vocab=512, max_positions=64, cached_numbers=6144)
    assert cache_blocks(OpenVinoOptions("m", max_num_seqs=2), small, free_memory()) == 2 * (64 + 32) // 32


def test_a_config_that_tells_no_sizes_is_refused() -> None:
    """Without them neither cache nor context is known."""
    with pytest.raises(ConfigurationError) as caught:
        ModelSizes.from_config({k: v for k, v in QWEN25_05B.items() if k != "vocab_size"})
    assert str(caught.value) == "config.json: not that of a dense text model (KeyError('vocab_size')); use another"
