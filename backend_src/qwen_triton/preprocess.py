"""GenerateRequest → EngineRequests: the prompt's ids, the end ids, the length, the seed; one request a sequence.

Everything that can be wrong with a request is found here, before an engine sees it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from .chat.template import ChatTemplate
from .engines.capabilities import check_honoured
from .engines.engine import EngineInfo
from .errors import InvalidRequest
from .tensors.prompt import EncodedPrompt
from .text.tokenizer import Tokenizer
from .types import EngineRequest, GenerateRequest, PromptFormat, SamplingParams, TokenBias

_UNKNOWN_CONTEXT = 32_768
"""Qwen2.5's context, where neither the tokenizer's folder nor the deployment says one."""


@dataclass(frozen=True)
class Preprocessor:
    """Knows the tokenizer, the chat template and the deployment's defaults; knows no tensors and no engine."""

    tokenizer: Tokenizer
    template: ChatTemplate
    prompt_format: PromptFormat = "raw"
    max_context: int | None = None

    def prompt_ids(self, request: GenerateRequest) -> tuple[int, ...]:
        """The prompt as token ids. Raises InvalidRequest for an empty one or ids outside the vocabulary."""
        if request.token_ids is not None:
            ids = request.token_ids
            self._check_ids(ids)
        elif request.messages is not None:
            ids = tuple(self.template.encode(request.messages, request.tools, request.template_options))
        elif (request.prompt_format or self.prompt_format) == "chat":
            turn = {"role": "user", "content": request.prompt}
            self._check_text(request.prompt or "")
            ids = tuple(self.template.encode((turn,), request.tools, request.template_options))
        else:
            self._check_text(request.prompt or "")
            ids = tuple(self.tokenizer.encode(request.prompt or "", control_tokens=True))
        if not ids:
            raise InvalidRequest("the prompt is empty", "text_input")
        return ids

    def context(self, engine: EngineInfo | None = None) -> int:
        """Most tokens that prompt and answer may have together."""
        limits = (self.max_context, self.tokenizer.context_length, engine.max_context if engine else None)
        return min((limit for limit in limits if limit is not None), default=_UNKNOWN_CONTEXT)

    def output_length(self, prompt_tokens: int, max_tokens: int | None, context: int) -> int:
        """`max_tokens`, or the rest of the context. Raises InvalidRequest for what cannot fit."""
        room = context - prompt_tokens
        if room < 1:
            raise InvalidRequest(
                f"the prompt has {prompt_tokens} tokens; with at least one for the answer, "
                f"the context of {context} is full: shorten it",
                "text_input",
            )
        if max_tokens is not None and max_tokens > room:
            raise InvalidRequest(
                f"{max_tokens} is too large: the prompt has {prompt_tokens} tokens and the context is "
                f"{context}, which leaves {room}",
                "max_tokens",
            )
        return max_tokens or room

    def end_ids(self, end_id: int | None, ignore_eos: bool) -> tuple[int, ...]:
        """The ids that end an answer: the checkpoint's (Qwen has two), the caller's one, or none."""
        if ignore_eos or end_id == -1:
            return ()
        if end_id is not None:
            self._check_ids((end_id,), "end_id")
            return (end_id,)
        return self.tokenizer.end_ids

    def words(self, words: tuple[str, ...], field: str) -> tuple[tuple[int, ...], ...]:
        """Words as token sequences, as this tokenizer encodes them alone."""
        return tuple(tuple(self.tokenizer.encode(w, control_tokens=True, field=field)) for w in words)

    def bias(self, bias: TokenBias) -> dict[int, float]:
        """Additive biases by token id; a word's bias is on each of its tokens, as stock does."""
        self._check_ids(tuple(bias.token_ids), "logit_bias")
        by_id = dict(bias.token_ids)
        for word, weight in bias.words:
            for token in self.tokenizer.encode(word, control_tokens=True, field="embedding_bias_words"):
                by_id[token] = by_id.get(token, 0.0) + weight
        return by_id

    def encode(self, request: GenerateRequest) -> EncodedPrompt:
        """What the preprocessing model of an ensemble says of a prompt. The engine's own limits are not known here."""
        ids = self.prompt_ids(request)
        ends = self.end_ids(request.end_id, request.stop.ignore_eos)
        self._check_ids(request.stop.token_ids, "stop_token_ids")
        single = tuple((i,) for i in (*ends[1:], *request.stop.token_ids))
        return EncodedPrompt(
            token_ids=ids,
            max_tokens=self.output_length(len(ids), request.sampling.max_tokens, self.context()),
            end_id=ends[0] if ends else -1,
            pad_id=self._pad_id(request),
            stop_words=(*single, *self.words(request.stop.strings, "stop_words")),
            stop_strings=request.stop.strings,
            bad_words=self.words(request.bias.bad_words, "bad_words"),
            bias=self.bias(request.bias),
        )

    def __call__(self, request: GenerateRequest, engine: EngineInfo) -> tuple[EngineRequest, ...]:
        """One EngineRequest a sequence (one for a beam search). Raises InvalidRequest naming the field."""
        ids = self.prompt_ids(request)
        self._check_ids(request.stop.token_ids, "stop_token_ids")
        sampling = request.sampling
        limit = self.output_length(len(ids), sampling.max_tokens, self.context(engine))
        base = EngineRequest(
            token_ids=ids,
            sampling=_resolved(sampling, limit),
            end_ids=self.end_ids(request.end_id, request.stop.ignore_eos),
            pad_id=self._pad_id(request),
            stop_token_ids=request.stop.token_ids,
            stop_sequences=self._stop_hints(request),
            bad_words=self.words(request.bias.bad_words, "bad_words"),
            bias=self.bias(request.bias),
            stream=request.stream,
        )
        check_honoured(engine.name, base)
        return split_sequences(base)

    def _pad_id(self, request: GenerateRequest) -> int:
        return self.tokenizer.pad_id if request.pad_id is None else request.pad_id

    def _stop_hints(self, request: GenerateRequest) -> tuple[tuple[int, ...], ...]:
        """Stop strings as an engine may match them; none where it would stop too early or cut off what is kept."""
        stop = request.stop
        if stop.include_in_output or request.sampling.min_tokens:
            return ()
        return self.words(stop.strings, "stop_words")

    def _check_text(self, text: str) -> None:
        if not text:
            raise InvalidRequest("the prompt is empty", "text_input")

    def _check_ids(self, ids: tuple[int, ...], field: str = "input_ids") -> None:
        for token in ids:
            if not 0 <= token < self.tokenizer.vocab_size:
                raise InvalidRequest(f"token id {token} is not in [0, {self.tokenizer.vocab_size})", field)


def _resolved(sampling: SamplingParams, limit: int) -> SamplingParams:
    """Length and seed set, whatever the caller left open; best_of needs log probs to know the best."""
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    ranked = sampling.sequences > sampling.n
    logprobs = 0 if ranked and sampling.logprobs is None else sampling.logprobs
    return replace(sampling, max_tokens=limit, seed=seed, logprobs=logprobs)


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
