"""How large the key/value cache becomes, and what the scheduler is told."""

from __future__ import annotations

import pytest

from qwen_triton.engines.openvino.cache import GIB, ModelSizes, cache_blocks, free_memory, scheduler
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.errors import ConfigurationError

QWEN25_05B = {
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "hidden_size": 896,
}


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
