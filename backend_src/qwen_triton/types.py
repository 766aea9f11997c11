"""The core types: immutable, valid by construction, without arrays, engines or names on a wire.

A client's `GenerateRequest` becomes one `EngineRequest` a sequence; the engine's `TokenChunk` becomes the client's
`TextChunk`. The chunks are named tuples: one of each is made per token, and a frozen dataclass takes longer to make.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .errors import InvalidRequest

FinishReason = Literal["stop", "length", "cancelled", "error"]
PromptFormat = Literal["raw", "chat"]

MAX_SEQUENCES = 128
"""The most sequences (n, best_of, beam width) that one request may have."""


def _check_range(name: str, value: float | None, low: float, high: float, *, open_low: bool = False) -> None:
    if value is None:
        return
    if math.isnan(value) or value > high or value < low or (open_low and value == low):
        bracket = "(" if open_low else "["
        raise InvalidRequest(f"must be in {bracket}{low}, {high}], got {value:g}", name)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen. None means «not given»; if none of the sampling parameters is given, decoding is greedy.

    `logprobs`: None = none, 0 = of the chosen token, N = also of the N most likely ones.
    """

    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    length_penalty: float | None = None
    seed: int | None = None
    logprobs: int | None = None
    n: int = 1
    best_of: int | None = None
    beam_width: int = 1

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            _check_range("max_tokens", self.max_tokens, 1, 2**31 - 1)
        _check_range("min_tokens", self.min_tokens, 0, 2**31 - 1)
        _check_range("temperature", self.temperature, 0, 100)
        _check_range("top_k", self.top_k, 0, 2**31 - 1)
        _check_range("top_p", self.top_p, 0, 1)
        _check_range("min_p", self.min_p, 0, 1)
        _check_range("repetition_penalty", self.repetition_penalty, 0, 100, open_low=True)
        _check_range("presence_penalty", self.presence_penalty, -2, 2)
        _check_range("frequency_penalty", self.frequency_penalty, -2, 2)
        _check_range("length_penalty", self.length_penalty, -100, 100)
        _check_range("seed", self.seed, 0, 2**64 - 1)
        _check_range("logprobs", self.logprobs, 0, 20)
        _check_range("n", self.n, 1, MAX_SEQUENCES)
        _check_range("beam_width", self.beam_width, 1, MAX_SEQUENCES)
        if self.best_of is not None:
            _check_range("best_of", self.best_of, self.n, MAX_SEQUENCES)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest(f"must not be larger than max_tokens ({self.max_tokens})", "min_tokens")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always chosen."""
        given = (self.temperature, self.top_k, self.top_p, self.min_p)
        return all(v is None for v in given) or self.temperature == 0 or self.top_k == 1 or self.beam_width > 1

    @property
    def sequences(self) -> int:
        """The number of sequences generated for one prompt, before the best are chosen."""
        return max(self.n, self.best_of or 1)


@dataclass(frozen=True, slots=True)
class StopConditions:
    """When an answer ends before `max_tokens`. Stop strings are matched in the text, however it is tokenized."""

    strings: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    include_in_output: bool = False
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if any(not s for s in self.strings):
            raise InvalidRequest("an empty stop string would match everywhere; leave it out", "stop")


@dataclass(frozen=True, slots=True)
class TokenBias:
    """Changes of the engine's choice of tokens: forbidden words, and additive biases on words or token ids."""

    bad_words: tuple[str, ...] = ()
    words: tuple[tuple[str, float], ...] = ()
    token_ids: Mapping[int, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.bad_words or self.words or self.token_ids)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A client's request for one prompt. Exactly one of `prompt`, `messages`, `token_ids` is set.

    `end_id` and `pad_id` replace the checkpoint's own; with `accumulate` each piece of a stream has the whole text so
    far; `echo` puts the prompt before the answer (stock: exclude_input_in_output = false). None = the deployment's.
    `count_pieces`: each piece of a stream has the token counts so far, not only the last.
    """

    prompt: str | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None
    token_ids: tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    template_options: Mapping[str, Any] = field(default_factory=dict)
    prompt_format: PromptFormat | None = None
    sampling: SamplingParams = SamplingParams()
    stop: StopConditions = StopConditions()
    bias: TokenBias = TokenBias()
    end_id: int | None = None
    pad_id: int | None = None
    stream: bool = False
    count_pieces: bool = False
    accumulate: bool | None = None
    echo: bool | None = None

    def __post_init__(self) -> None:
        given = [n for n in ("prompt", "messages", "token_ids") if getattr(self, n) is not None]
        if len(given) != 1:
            reason = "give one of them" if not given else f"give only one of them, got {' and '.join(given)}"
            raise InvalidRequest(f"a prompt is text, messages or token ids: {reason}", "text_input")


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One sequence (or beam search) for an engine, with every default resolved.

    `sampling.max_tokens` and `sampling.seed` are always set. `end_ids` end the answer and are not part of its text;
    so do the client's `stop_token_ids`. `stop_sequences` are the stop strings as this tokenizer encodes each alone: a
    hint by which an engine may end early; the text is scanned in any case. `queue_timeout_s`: how long it may wait for
    a slot before it is refused; None = no bound.
    """

    token_ids: tuple[int, ...]
    sampling: SamplingParams
    end_ids: tuple[int, ...] = ()
    pad_id: int = 0
    stop_token_ids: tuple[int, ...] = ()
    stop_sequences: tuple[tuple[int, ...], ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    bias: Mapping[int, float] = field(default_factory=dict)
    stream: bool = True
    queue_timeout_s: float | None = None


class TokenChunk(NamedTuple):
    """New tokens of one sequence, in order. `finish` is set on the last chunk only.

    An end or stop id is in `stop_token`, not in `token_ids`. `log_probs[i]` belongs to `token_ids[i]` (natural log;
    empty unless requested), `top_log_probs[i]` are (id, log prob) pairs, most likely first. `sequence` is the beam.
    `error` is a message for the server's log, with finish = "error". `last` is False on the last chunk of every beam of
    a search but the last beam's: after a chunk with `finish` and `last` nothing more comes for the request.
    """

    token_ids: Sequence[int] = ()
    log_probs: Sequence[float] = ()
    top_log_probs: Sequence[Sequence[tuple[int, float]]] = ()
    finish: FinishReason | None = None
    stop_token: int | None = None
    sequence: int = 0
    cached_tokens: int = 0
    cum_log_prob: float | None = None
    error: str = ""
    last: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer: of the prompt, generated for it (with an end id), and of the prompt found in a cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class TextChunk(NamedTuple):
    """New text of one sequence. On the last chunk `finish`, `usage` and, after a stop, `stop_reason` are set.

    `stop_reason` is the stop string or stop token id that ended the answer, None for the model's own end id.
    `token_ids` and `log_probs` are those of the tokens that are sent with this chunk.
    """

    text: str = ""
    token_ids: Sequence[int] = ()
    log_probs: Sequence[float] = ()
    top_log_probs: Sequence[Sequence[tuple[int, float]]] = ()
    finish: FinishReason | None = None
    stop_reason: str | int | None = None
    usage: Usage | None = None
    sequence: int = 0
    cum_log_prob: float | None = None
