"""Options of the llmapi engine: TensorRT-LLM's names, what is passed on, and what `extra` may not set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.engines.llmapi.options import LlmapiOptions
from qwen_triton.engines.option import OptionError, options_of
from tests.support.fake_llmapi import VERSIONS
from tests.support.folders import DATA

OURS = {"hub", "python", "extra", "lora", "max_loras", "max_cpu_loras", "max_lora_rank"}


def test_only_what_differs_from_the_library_s_defaults_is_passed_on() -> None:
    options = LlmapiOptions("/m", tensor_parallel_size=2, enable_chunked_prefill=True, extra={"moe_config": {}})
    assert options.arguments() == {"tensor_parallel_size": 2, "enable_chunked_prefill": True, "moe_config": {}}
    assert LlmapiOptions("/m", lora={"a": Path("/a")}, max_loras=1, revision="main").arguments() == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_option_is_an_argument_of_the_llm(version: str) -> None:
    known = set(json.loads((DATA / "llmapi" / f"{version}.json").read_text())["TorchLlmArgs"])
    assert set(options_of(LlmapiOptions)) - OURS <= known


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tensor_parallel_size": 0}, r"engine.tensor_parallel_size: must be a whole number of at least 1, got 0"),
        (
            {"sampler_type": "best"},
            r"engine.sampler_type: must be one of auto, TorchSampler, TRTLLMSampler, got 'best'",
        ),
        ({"guided_decoding_backend": "llguidance"}, r"engine.guided_decoding_backend: must be one of xgrammar"),
        ({"extra": {"max_batch_size": 2}}, r"engine.extra.max_batch_size: is an option itself"),
        (
            {"extra": {"skip_tokenizer_init": False}},
            r"engine.extra.skip_tokenizer_init: cannot be set: text is made before",
        ),
        ({"extra": {"max_beam_width": 2}}, r"engine.extra.max_beam_width: cannot be set: there is no beam search"),
        ({"extra": {"lora_config": {}}}, r"engine.extra.lora_config: cannot be set: give adapters as engine.lora"),
        ({"lora": {" a": Path("/a")}}, r"engine.lora: a name must be text of 1 to 128 printable characters"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        LlmapiOptions("/m", **options)
