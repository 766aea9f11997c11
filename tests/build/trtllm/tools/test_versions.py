"""Releases: patches are one with their line, and one without engines says what there is in their place."""

from __future__ import annotations

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.trtllm.tools.versions import release_of


@pytest.mark.parametrize(
    ("text", "image"), [("1.2.1", "26.07"), ("1.2.0rc3", "26.07"), ("0.14.0", "24.10"), ("v1.0.3.2510", "25.10")]
)
def test_a_patch_is_its_line(text: str, image: str) -> None:
    assert release_of(text).image == image


@pytest.mark.parametrize("text", ["1.3.0rc1", "1.4.0", "2.0"])
def test_a_release_without_engines_says_what_to_take(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        release_of(text)
    assert str(refused.value) == (
        f"TensorRT-LLM {text}: engines and their build tools were removed upstream after 1.2; serve the checkpoint itself "
        "(engine.kind llmapi, by the LLM API that upstream keeps, or vllm), or build with 1.2 (image 26.07)"
    )


def test_one_between_two_that_are_known_is_refused_with_those() -> None:
    with pytest.raises(
        ConfigurationError, match=r"TensorRT-LLM 0.16.0: its build tools' flags are not known here; use 0.14"
    ):
        release_of("0.16.0")
