"""Releases of TensorRT-LLM whose LLM API is driven here, and what their samplers do.

Read in the sources of 1.2 and of the candidates of 1.3 and 1.4: the sampler of 1.2 that is the default, TorchSampler, passes
over seeds, penalties, min_p and bad words without a word and counts the prompt for min_tokens, all of which TRTLLMSampler
honours; from 1.3.0rc26 on there is one sampler, and it honours all. Imports no tensorrt_llm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ...errors import ConfigurationError

LIBRARY = "tensorrt_llm"
OLDEST, NEWEST = (1, 2), (1, 4)
_ONE_SAMPLER = (1, 3)
"""The first release whose only sampler honours everything."""
_FIRST_CANDIDATE = 26
"""Of that release: the first candidate that does."""
_SUPPORTED = "install 1.2, or 1.3.0rc26 to 1.4"
OLD_SAMPLER = "TRTLLMSampler"
_BY_A_WHOLE_SAMPLER = (
    "min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_p", "bad_words"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LlmRelease:
    """A supported release, such as 1.2.1 as (1, 2)."""

    number: tuple[int, int]

    def honours(self, sampler_type: str, *, speculative: bool) -> tuple[str, ...]:
        """The parameters that a loaded engine honours beside those that each does (capabilities.HONOURED)."""
        old = sampler_type == OLD_SAMPLER
        whole = old or self.number >= _ONE_SAMPLER
        return (*(_BY_A_WHOLE_SAMPLER if whole and not speculative else ()), *(() if old else ("top_logprobs",)))

    def seeds(self, sampler_type: str) -> bool:
        """Whether a request's seed is honoured."""
        return sampler_type == OLD_SAMPLER or self.number >= _ONE_SAMPLER

    def check_sampler(self, sampler_type: str) -> None:
        """Raises ConfigurationError for a sampler that the release does not have."""
        if sampler_type == OLD_SAMPLER and self.number >= _ONE_SAMPLER:
            raise ConfigurationError(
                f"engine.sampler_type: {OLD_SAMPLER} is in TensorRT-LLM 1.2 alone; leave it out, the sampler of this release "
                "honours what it did"
            )


def installed_release() -> LlmRelease:
    """The release in this interpreter. Raises ConfigurationError for none, and for one that is not supported."""
    try:
        found = version(LIBRARY)
    except PackageNotFoundError:
        raise ConfigurationError(
            f"engine: {LIBRARY} is not installed in this interpreter; name one that has it as engine.python"
        ) from None
    return release_of_library(found)


def release_of_library(found: str) -> LlmRelease:
    """A version, such as 1.2.1 or 1.4.0rc4, as its release. Raises ConfigurationError, with the reason, for others."""
    parsed = re.match(r"(\d+)\.(\d+)(?:\.\d+)*(?:rc(\d+))?", found)
    if parsed is None:
        raise ConfigurationError(f"engine: {LIBRARY} {found} is no version that is known; {_SUPPORTED}")
    number = int(parsed[1]), int(parsed[2])
    candidate = None if parsed[3] is None else int(parsed[3])
    if reason := _refusal(number, candidate):
        raise ConfigurationError(f"engine: {LIBRARY} {found} is not supported: {reason}; {_SUPPORTED}")
    return LlmRelease(number)


def _refusal(number: tuple[int, int], candidate: int | None) -> str:
    """Why a release is not taken; empty for one that is."""
    if number < OLDEST or (number == OLDEST and candidate is not None):
        return "its LLM API takes other names"
    if number > NEWEST:
        return "what it changed is not known here"
    if number == _ONE_SAMPLER and candidate is not None and candidate < _FIRST_CANDIDATE:
        return "its sampler passes over seeds and penalties, and the one that did not is gone or going"
    return ""
