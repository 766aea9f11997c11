"""Releases of TensorRT-LLM: which are taken, why others are not, and what their samplers do."""

from __future__ import annotations

import pytest

from qwen_triton.engines.llmapi.releases import LlmRelease, release_of_library
from qwen_triton.errors import ConfigurationError

WHOLE = ("min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_p", "bad_words")


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("1.2.0", (1, 2)),
        ("1.2.1", (1, 2)),
        ("1.2.1.post1+cu130", (1, 2)),
        ("1.3.0rc26", (1, 3)),
        ("1.3.0", (1, 3)),
        ("1.4.0rc4", (1, 4)),
    ],
)
def test_releases_that_are_taken(version: str, number: tuple[int, int]) -> None:
    assert release_of_library(version) == LlmRelease(number)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("0.21.0", "its LLM API takes other names"),
        ("1.1.0", "its LLM API takes other names"),
        ("1.2.0rc6", "its LLM API takes other names"),
        ("1.3.0rc13", "its sampler passes over seeds and penalties, and the one that did not is gone or going"),
        ("1.5.0rc0", "what it changed is not known here"),
    ],
)
def test_others_are_refused_with_the_reason(version: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        release_of_library(version)
    assert str(refusal.value) == (
        f"engine: tensorrt_llm {version} is not supported: {reason}; install 1.2, or 1.3.0rc26 to 1.4"
    )


def test_a_version_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"tensorrt_llm main is no version that is known; install 1.2, or"):
        release_of_library("main")


@pytest.mark.parametrize(
    ("number", "sampler", "speculative", "honours", "seeds"),
    [
        ((1, 2), "auto", False, ("top_logprobs",), False),
        ((1, 2), "TorchSampler", False, ("top_logprobs",), False),
        ((1, 2), "TRTLLMSampler", False, WHOLE, True),
        ((1, 3), "auto", False, (*WHOLE, "top_logprobs"), True),
        ((1, 4), "auto", True, ("top_logprobs",), True),
    ],
)
def test_what_a_sampler_honours(
    number: tuple[int, int], sampler: str, speculative: bool, honours: tuple[str, ...], seeds: bool
) -> None:
    release = LlmRelease(number)
    assert release.honours(sampler, speculative=speculative) == honours
    assert release.seeds(sampler) == seeds
