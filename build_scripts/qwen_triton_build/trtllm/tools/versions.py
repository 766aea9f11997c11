"""TensorRT-LLM's versions: the releases that are supported, and where they differ.

A release between two supported ones is refused: its tools take other flags than either, and an error at once costs less
than a build that fails after an hour or drops a flag silently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from qwen_triton.errors import ConfigurationError


@total_ordering
@dataclass(frozen=True)
class Version:
    """Major and minor; patches, candidates and NVIDIA's suffixes change no contract."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """From «0.14.0», «1.0.3.2510», «1.1.0rc6». Raises ConfigurationError."""
        found = re.match(r"v?(\d+)\.(\d+)(?:\.|$)", text.strip())
        if found is None:
            raise ConfigurationError(f"TensorRT-LLM version: got {text!r}, expected one such as 0.14.0")
        return cls(int(found[1]), int(found[2]))

    def __lt__(self, other: Version) -> bool:
        return (self.major, self.minor) < (other.major, other.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True)
class Release:
    """Facts of one release line that a build depends on. `flags`: the line of flags.json that applies to it.

    `examples`: where the model's folder is in TensorRT-LLM's examples/. `image`: a tag of nvcr.io/nvidia/tritonserver.
    """

    version: Version
    tag: str
    image: str
    flags: str
    examples: str
    tokens_per_block: int
    auto_dtype: bool
    paged_context_default: bool
    reads_quantized_checkpoints: bool
    model_types: tuple[str, ...]


_QWEN2 = ("qwen", "qwen2", "qwen2_moe")
_QWEN3 = (*_QWEN2, "qwen3", "qwen3_moe")
UNTRIED = {
    "qwen3_moe": "no converter that knows its experts was run; compare the engine's answers with the checkpoint's"
}
"""Model types that releases list and that were not tried with their tools, each with the reason."""
_CORE = "models/core/qwen"

RELEASES = {
    r.version: r
    for r in (
        Release(Version(0, 14), "v0.14.0", "24.10", "0.14.0", "qwen", 64, False, False, False, _QWEN2),
        Release(Version(0, 21), "v0.21.0", "25.08", "0.21.0", _CORE, 32, True, True, True, _QWEN3),
        Release(Version(1, 0), "v1.0.0", "25.10", "1.0.0", _CORE, 32, True, True, True, _QWEN3),
        Release(Version(1, 1), "v1.1.0", "26.02", "1.2", _CORE, 32, True, True, True, _QWEN3),
        Release(Version(1, 2), "v1.2.1", "26.07", "1.2", _CORE, 32, True, True, True, _QWEN3),
    )
}
SERVED = (Version(0, 14), Version(0, 19), Version(0, 20), *list(RELEASES)[1:])
"""Versions whose engines can be served; those of 0.19 and 0.20 cannot be built, as their tools' flags are not listed."""


def release_of(text: str) -> Release:
    """The release line of a version. Raises ConfigurationError with the ones that there are."""
    version = Version.parse(text)
    if version > max(RELEASES):
        raise ConfigurationError(
            f"TensorRT-LLM {text}: engines and their build tools were removed upstream after {max(RELEASES)}; serve the "
            "checkpoint itself (engine.kind llmapi, by the LLM API that upstream keeps, or vllm), or build with "
            f"{max(RELEASES)} (image {RELEASES[max(RELEASES)].image})"
        )
    if version not in RELEASES:
        raise ConfigurationError(
            f"TensorRT-LLM {text}: its build tools' flags are not known here; use "
            + ", ".join(f"{r.version} (image {r.image})" for r in RELEASES.values())
        )
    return RELEASES[version]


def served_version(text: str) -> Version:
    """The version of an engine to serve. Raises ConfigurationError when its model contract is not known."""
    version = Version.parse(text)
    if version not in SERVED:
        raise ConfigurationError(
            f"the engine is of TensorRT-LLM {text}, whose tensors are not known here; build it with one of "
            + ", ".join(map(str, SERVED))
        )
    return version
