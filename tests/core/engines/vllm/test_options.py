"""Options of the vLLM engine: vLLM's names, what is passed on, and what `extra` may not set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.engines.gpu.adapters import Adapter
from qwen_triton.engines.option import OptionError, options_of
from qwen_triton.engines.vllm.options import VllmOptions
from tests.support.fake_vllm import VERSIONS
from tests.support.folders import DATA

OURS = {"hub", "python", "extra", "lora", "arrival_pause_ms"}


def test_only_what_differs_from_vllm_s_defaults_is_passed_on() -> None:
    options = VllmOptions("/m", tensor_parallel_size=2, kv_cache_dtype="fp8", extra={"seed": 3})
    assert options.arguments() == {"tensor_parallel_size": 2, "kv_cache_dtype": "fp8", "seed": 3}
    assert VllmOptions("/m", arrival_pause_ms=5).arguments() == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_option_is_an_argument_of_vllm(version: str) -> None:
    known = set(json.loads((DATA / "vllm" / f"{version}.json").read_text())["vllm.engine.arg_utils.EngineArgs"])
    assert set(options_of(VllmOptions)) - OURS <= known


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tensor_parallel_size": 0}, "engine.tensor_parallel_size: must be a whole number of at least 1, got 0"),
        ({"gpu_memory_utilization": 1.5}, "engine.gpu_memory_utilization: must be a number"),
        ({"dtype": "int8"}, "engine.dtype: must be one of auto, half"),
        ({"extra": {"tensor_parallel_size": 2}}, "engine.extra.tensor_parallel_size: is an option itself"),
        (
            {"extra": {"skip_tokenizer_init": False}},
            "engine.extra.skip_tokenizer_init: cannot be set: text is made before",
        ),
        ({"extra": {"enable_lora": True}}, "engine.extra.enable_lora: cannot be set: give adapters as engine.lora"),
        ({"lora": {" a": Path("/a")}}, "engine.lora: a name must be text of 1 to 128 printable characters"),
        ({"lora": {"a": "/a"}}, "engine.lora: must be keys and values"),
        (
            {"lora": {"a": Path("/a"), "b": Path("/b")}, "max_cpu_loras": 1},
            "engine.max_cpu_loras: must be at least 2, or an adapter would be read again in the middle of a step, got 1",
        ),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        VllmOptions("/m", **options)


def test_vllm_gets_room_for_adapters_in_one_of_its_ranks() -> None:
    """The smallest that fits all; nothing where there is no adapter."""
    adapters = [Adapter(f"a{n}", n, Path("/a"), rank, patterned=False) for n, rank in enumerate((8, 20), 1)]
    assert VllmOptions("/m").adapter_arguments([]) == {}
    assert VllmOptions("/m").adapter_arguments(adapters) == {
        "enable_lora": True, "max_lora_rank": 32, "max_loras": 2, "max_cpu_loras": 2,
    }  # fmt: skip
    assert VllmOptions("/m", max_lora_rank=64).adapter_arguments(adapters)["max_lora_rank"] == 64
