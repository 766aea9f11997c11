"""Options of the OpenVINO engine: the model, its profile, and the sizes of batch and cache.

Imports no openvino: the deployment's schema is made from this too. What a profile means for the library is in profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...checkpoint.hub import Hub
from ..option import REQUIRED, OptionError, check_options, option

ProfileName = Literal["exact", "bf16", "int8", "int8-fast"]


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """`model`, `hub` and `conversion_cache` are no keys of `engine:`; the deployment gives the model's folder."""

    model: str = option(
        REQUIRED, "a checkpoint's folder, or its name on `hub`", phrase="a folder or a hub name", in_deployment=False
    )
    hub: Hub = option("huggingface", "where a name is fetched from", in_deployment=False)
    profile: ProfileName = option("exact", "how weights are stored and numbers computed")
    max_num_seqs: int = option(256, "sequences in the engine at once; others wait", at_least=1)
    max_num_batched_tokens: int = option(256, "tokens of one step; longer prompts are split", at_least=1)
    cache_gib: float | None = option(
        None,
        "memory for keys and values in GiB; None = a part of what is free",
        more_than=0,
        at_most=1 << 20,
        phrase="a number of GiB larger than 0",
    )
    threads: int | None = option(None, "threads that compute; None = one for each physical core", at_least=1)
    form_compile_s: float = option(
        30.0,
        "seconds of CPU that compiling a form of answers may take; one that would take more is refused",
        more_than=0,
        at_most=3600,
        phrase="a number of seconds larger than 0, up to 3600",
    )
    prefix_caching: bool = option(True, "prompts that begin alike are computed once")
    conversion_cache: str | None = option(
        None, "where conversions are kept; None = the user's cache folder", phrase="a folder", in_deployment=False
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not self.model:
            raise OptionError("model", "must be a folder or a hub name", self.model)
