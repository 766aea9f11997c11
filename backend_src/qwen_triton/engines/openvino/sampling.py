"""Converts an EngineRequest to openvino-genai's GenerationConfig; refuses parameters that it would ignore.

The pipeline accepts any id and any length silently, so a request's are checked before it is submitted: ids inside the
vocabulary, lengths inside context and cache.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import openvino_genai as genai

from ...errors import InvalidRequest
from ...tensors.contract import END_ID, INPUT_IDS, STOP_TOKEN_IDS
from ...types import EngineRequest, SamplingParams
from .cache import BLOCK_TOKENS

_NOT_IN_BEAMS = {
    "temperature": (None, 0, 1),
    "top_k": (None, 0, 1),
    "top_p": (None, 0, 1),
    "min_p": (None, 0),
    "repetition_penalty": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "min_tokens": (0,),
}
"""Parameters that beam search in openvino-genai ignores, with their neutral values, which are accepted."""


def stop_ids(request: EngineRequest) -> frozenset[int]:
    """The token ids that end this answer."""
    return frozenset(request.end_ids) | frozenset(request.stop_token_ids)


def generation_config(request: EngineRequest, max_tokens: int) -> genai.GenerationConfig:
    """`max_tokens`: as the limits allow. Raises InvalidRequest for a parameter that would be refused or ignored."""
    sampling = request.sampling
    config = genai.GenerationConfig()
    config.max_new_tokens = max_tokens
    config.logprobs = 0 if sampling.logprobs is None else 1
    _set_end(config, request)
    if request.grammar:
        config.structured_output_config = genai.StructuredOutputConfig(grammar=request.grammar)
    if sampling.beam_width > 1:
        _set_beams(config, sampling)
    else:
        _set_penalties(config, sampling)
        _set_choice(config, sampling)
    try:
        config.validate()
    except RuntimeError as error:
        raise InvalidRequest(f"openvino-genai refuses it: {str(error).strip().splitlines()[-1]}", "sampling") from error
    return config


def _set_end(config: genai.GenerationConfig, request: EngineRequest) -> None:
    """Sets an end id even where there is none: openvino-genai would otherwise read the model folder's own end ids.

    `ignore_eos` disables every stop id, the given ones too, so it is set only where there are none.
    """
    ids = stop_ids(request)
    config.ignore_eos = not ids
    config.set_eos_token_id(min(ids, default=0))
    if ids:
        config.stop_token_ids = set(ids)
        config.min_new_tokens = request.sampling.min_tokens


def _set_beams(config: genai.GenerationConfig, sampling: SamplingParams) -> None:
    for name, neutral in _NOT_IN_BEAMS.items():
        if getattr(sampling, name) not in neutral:
            raise InvalidRequest("beam search takes no notice of it; leave it out, or beam_width", name)
    if sampling.n > sampling.beam_width:
        raise InvalidRequest(f"must not be larger than beam_width ({sampling.beam_width})", "n")
    config.num_beams = sampling.beam_width
    config.num_return_sequences = sampling.n
    if sampling.length_penalty is not None:
        config.length_penalty = sampling.length_penalty


def _set_penalties(config: genai.GenerationConfig, sampling: SamplingParams) -> None:
    for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        value = getattr(sampling, name)
        if value is not None:
            setattr(config, name, value)


def _set_choice(config: genai.GenerationConfig, sampling: SamplingParams) -> None:
    """Maps values outside the library's range: top_p 0 and min_p 1 mean greedy, top_k 0 means no limit."""
    config.do_sample = not (sampling.greedy or sampling.top_p == 0 or sampling.min_p == 1)
    if not config.do_sample:
        return
    config.rng_seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
    if sampling.temperature is not None:
        config.temperature = sampling.temperature
    if sampling.top_k:
        config.top_k = sampling.top_k
    if sampling.top_p is not None:
        config.top_p = sampling.top_p
    if sampling.min_p is not None:
        config.min_p = sampling.min_p


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Lengths in tokens; `batch` is the most sequences in one step."""

    vocab: int
    context: int
    cache: int
    batch: int

    def admit(self, request: EngineRequest) -> int:
        """The number of tokens that a request may generate. Raises InvalidRequest, with the field, if it does not fit."""
        self._check_ids(request)
        room = self.context - len(request.token_ids)
        max_tokens = max(1, room) if request.sampling.max_tokens is None else request.sampling.max_tokens
        if max_tokens > room:
            raise InvalidRequest(
                f"{len(request.token_ids)} prompt tokens and {max_tokens} to generate exceed the context of "
                f"{self.context}; shorten the prompt or lower max_tokens",
                "max_tokens",
            )
        if request.sampling.beam_width > 1:
            self._check_beams(request, max_tokens)
        return max_tokens

    def _check_ids(self, request: EngineRequest) -> None:
        if not request.token_ids:
            raise InvalidRequest("the prompt is empty; give at least one token", INPUT_IDS)
        checked = {INPUT_IDS: request.token_ids, END_ID: request.end_ids, STOP_TOKEN_IDS: request.stop_token_ids}
        for field, ids in checked.items():
            wrong = [token for token in ids if not 0 <= token < self.vocab]
            if wrong:
                raise InvalidRequest(f"{wrong[0]} is outside the vocabulary (0 to {self.vocab - 1})", field)

    def _check_beams(self, request: EngineRequest, max_tokens: int) -> None:
        """Refuses a beam search that could outgrow batch or cache: the scheduler would cut it off without a usable beam."""
        beams = request.sampling.beam_width
        if beams > self.batch:
            raise InvalidRequest(f"must not be larger than the engine's batch ({self.batch})", "beam_width")
        needed = len(request.token_ids) + beams * (max_tokens + BLOCK_TOKENS)
        if needed > self.cache:
            raise InvalidRequest(
                f"{beams} beams of {max_tokens} tokens need a cache for {needed} tokens, there is one for "
                f"{self.cache}; lower it or max_tokens",
                "beam_width",
            )
