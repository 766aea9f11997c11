"""What an operator may set for the CPU engine."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from qwen_triton.engines.openvino.options import OpenVinoOptions, ProfileName
from qwen_triton.engines.openvino.profiles import PROFILES
from qwen_triton.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "fp8"}, "engine.profile: must be one of exact, bf16, int8, int8-fast, got 'fp8'"),
        ({"hub": "github"}, "engine.hub: must be one of huggingface, modelscope, got 'github'"),
        ({"max_num_seqs": 0}, "engine.max_num_seqs: must be a whole number of at least 1, got 0"),
        (
            {"max_num_batched_tokens": "256"},
            "engine.max_num_batched_tokens: must be a whole number of at least 1, got '256'",
        ),
        ({"threads": 1.5}, "engine.threads: must be a whole number of at least 1, got 1.5"),
        ({"cache_gib": float("nan")}, "engine.cache_gib: must be a number of GiB larger than 0, got nan"),
        ({"prefix_caching": "yes"}, "engine.prefix_caching: must be true or false, got 'yes'"),
        ({"conversion_cache": 1}, "engine.conversion_cache: must be a folder, got 1"),
        ({"model": ""}, "engine.model: must be a folder or a hub name, got ''"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    """An operator reads which option, what it must be and what it was."""
    with pytest.raises(ConfigurationError) as caught:
        OpenVinoOptions(**({"model": "m"} | options))
    assert str(caught.value) == message


def test_every_profile_that_may_be_asked_for_is_defined() -> None:
    """The names are in options, which imports no openvino; their meaning is in profiles."""
    assert tuple(PROFILES) == get_args(ProfileName)
