"""The sequences of one prompt: a beam search is one engine request, n samples are n of them with seeds of their own."""

from __future__ import annotations

from dataclasses import replace

from .errors import InvalidRequest
from .types import EngineRequest


def split_sequences(base: EngineRequest) -> tuple[EngineRequest, ...]:
    """One engine request a sequence; sample i has the seed of the first plus i. Raises InvalidRequest."""
    sampling = base.sampling
    if sampling.beam_width > 1:
        _check_beams(base)
        return (base,)
    if sampling.sequences > sampling.n and base.stream:
        raise InvalidRequest("the best sequences are known at the end only; ask for stream = false", "best_of")
    seed = sampling.seed or 0
    return tuple(
        replace(base, sampling=replace(sampling, seed=(seed + i) % 2**64, n=1, best_of=None))
        for i in range(sampling.sequences)
    )


def _check_beams(request: EngineRequest) -> None:
    if request.stream:
        raise InvalidRequest("beams are known at the end only; ask for stream = false", "stream")
    if request.sampling.sequences > request.sampling.beam_width:
        raise InvalidRequest("at most beam_width sequences are found", "num_return_sequences")
