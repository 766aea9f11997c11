"""Makes engine requests of a client's request: prompt ids, end ids, length and seed; one request a sequence.

Finds everything that can be wrong with a request before an engine gets it. Knows no tensors and no engine's library.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .chat.forms.compile import DEFAULT_BOUNDS, FormBounds
from .chat.template import ChatTemplate
from .chat.tool_choice import calls_form, wants_strict
from .engines.capabilities import FormGrammars, check_request
from .engines.engine import EngineInfo
from .errors import CONTEXT_EXCEEDED, InvalidRequest
from .tensors.contract import EMBEDDING_BIAS_WORDS, INPUT_IDS, NUM_RETURN_SEQUENCES, STOP_WORDS, TEXT_INPUT
from .text.text_stream import resolve_stops
from .text.tokenizer import Tokenizer
from .types import EngineRequest, GenerateRequest, PromptFormat, SamplingParams, TokenBias

_UNKNOWN_CONTEXT = 32_768
"""Qwen2.5's context, where neither the tokenizer's folder nor the deployment gives one."""


_WATCHED_TOKENS = 16
_REFUSED_OPTIONS = {
    "allow_control_tokens": "control tokens of a message are plain text; a raw prompt may have them",
    "chat_template": "the checkpoint's chat template is the only one",
}
"""Options of the chat template with the reason that their senders are given."""


@dataclass(frozen=True)
class Preprocessor:
    """Applies a tokenizer, a chat template and the deployment's defaults; `max_context` in tokens, None = not set."""

    tokenizer: Tokenizer
    template: ChatTemplate
    prompt_format: PromptFormat = "raw"
    max_context: int | None = None
    form_bounds: FormBounds = DEFAULT_BOUNDS

    def engine_requests(self, request: GenerateRequest, engine: EngineInfo | None = None) -> tuple[EngineRequest, ...]:
        """One EngineRequest a sequence (one for a beam search) of a request with resolved stops. Raises InvalidRequest.

        `engine` None: its context and what it honours are not known here and not checked, as in the preprocessing model
        of an ensemble.
        """
        self._check_options(request.template_options)
        if request.tool_choice.forced and request.messages is None and self._format_of(request) == "raw":
            raise InvalidRequest("only with messages, or a prompt in the format chat", "tool_choice")
        context = self.context(engine)
        ids = self._prompt_ids(request, context)
        self._check_ids(request.stop.token_ids, "stop_token_ids")
        max_tokens = _output_length(len(ids), request.sampling.max_tokens, context, clamp=request.clamp_max_tokens)
        base = EngineRequest(
            token_ids=ids,
            sampling=_resolved(request.sampling, max_tokens),
            end_ids=self._end_ids(request.end_id, request.stop.ignore_eos),
            pad_id=self.tokenizer.pad_id if request.pad_id is None else request.pad_id,
            stop_token_ids=request.stop.token_ids,
            stop_sequences=self._stop_hints(request),
            bad_words=self._words(request.bias.bad_words, "bad_words"),
            bias=self._bias(request.bias),
            stream=request.stream,
            chunk_tokens=chunk_tokens(request.stream, watched=bool(request.stop.strings) or _ends_by_call(request)),
            lora_name=request.lora_name,
            lora_task=request.lora_task,
            perf_metrics=request.perf_metrics,
        )
        if engine is not None:
            check_request(engine, base, seeded=request.sampling.seed is not None)
            if grammar := self._grammar(request, base, engine):
                base = replace(base, grammar=grammar)
        return split_sequences(base)

    def _grammar(self, request: GenerateRequest, base: EngineRequest, engine: EngineInfo) -> str:
        """The grammar of the answer: of its form, and of the calls of its tools."""
        chat = request.messages is not None or self._format_of(request) == "chat"
        choice, tool_format = request.tool_choice, self.template.tool_format
        if not request.tools or not chat or choice.mode == "none" or tool_format is None:
            return self.forms.grammar(request.form, base, engine)
        strict = wants_strict(request.tools)
        if not engine.forms and strict:
            self.forms.refuse(engine, "tools")
        if not engine.forms:
            return self.forms.grammar(request.form, base, engine)
        try:
            single = not request.parallel_tool_calls
            form = calls_form(choice, request.tools, tool_format, request.form, self.form_bounds, single=single)
            return self.forms.grammar(form, base, engine, begun=choice.forced)
        except InvalidRequest:
            if strict or request.form is not None:
                raise
            return ""  # a forced call was asked for, which the prompt begins; its arguments are the model's

    @cached_property
    def forms(self) -> FormGrammars:
        """The grammars of forms, with what was compiled before."""
        return FormGrammars(self.tokenizer, self.form_bounds)

    def resolve_stops(self, request: GenerateRequest) -> GenerateRequest:
        """`request` with the ids of stop strings that are control tokens (text_stream.resolve_stops). Raises InvalidRequest."""
        stop = resolve_stops(request.stop, self.tokenizer, STOP_WORDS)
        return request if stop is request.stop else replace(request, stop=stop)

    def context(self, engine: EngineInfo | None = None) -> int:
        """The most tokens that prompt and answer may have together."""
        limits = (self.max_context, self.tokenizer.context_length, engine.max_context if engine else None)
        return min((limit for limit in limits if limit is not None), default=_UNKNOWN_CONTEXT)

    @property
    def context_fault(self) -> str:
        """Why `max_context` cannot be honoured; empty if it can."""
        most = self.tokenizer.context_length
        if self.max_context is None or most is None or self.max_context <= most:
            return ""
        return f"{self.max_context} is more than the checkpoint's {most} tokens, which hold"

    def _check_options(self, options: Mapping[str, Any]) -> None:
        """Refuses options of the template that no caller may choose."""
        for name, reason in _REFUSED_OPTIONS.items():
            if name in options:
                raise InvalidRequest(f"{reason}; leave it out", f"chat_template_kwargs.{name}")

    def _prompt_ids(self, request: GenerateRequest, context: int) -> tuple[int, ...]:
        if request.token_ids is not None:
            ids = request.token_ids
            if len(ids) < context:
                self._check_ids(ids)
        elif request.messages is not None:
            ids = tuple(self._chat_ids(request.messages, request, context))
        else:
            ids = self._encode_text(request.prompt or "", request, context)
        if not ids:
            raise InvalidRequest("the prompt is empty", TEXT_INPUT)
        return ids

    def _encode_text(self, text: str, request: GenerateRequest, context: int) -> tuple[int, ...]:
        if not text:
            raise InvalidRequest("the prompt is empty", TEXT_INPUT)
        if self._format_of(request) == "chat":
            message = {"role": "user", "content": text}
            return tuple(self._chat_ids((message,), request, context))
        self.tokenizer.check_length(text, context)
        return tuple(self.tokenizer.encode(text, control_tokens=True))

    def _format_of(self, request: GenerateRequest) -> PromptFormat:
        """Of a prompt that is a text; token ids stand as they are."""
        return "raw" if request.token_ids is not None else request.prompt_format or self.prompt_format

    def _chat_ids(self, messages: tuple[Mapping[str, Any], ...], request: GenerateRequest, context: int) -> list[int]:
        return self.template.encode(messages, request.tools, request.template_options, context, request.tool_choice)

    def _end_ids(self, end_id: int | None, ignore_eos: bool) -> tuple[int, ...]:
        """The ids that end an answer: the checkpoint's (Qwen has two), the client's one, or none."""
        if ignore_eos or end_id == -1:
            return ()
        if end_id is not None:
            self._check_ids((end_id,), "end_id")
            return (end_id,)
        return self.tokenizer.end_ids

    def _stop_hints(self, request: GenerateRequest) -> tuple[tuple[int, ...], ...]:
        """Stop strings as an engine may match them; none where it would stop too early or remove what is kept."""
        stop = request.stop
        if stop.include_in_output or request.sampling.min_tokens:
            return ()
        strings = (string for string in stop.strings if string not in self.tokenizer.special_tokens)
        return self._words(tuple(strings), STOP_WORDS)

    def _words(self, words: tuple[str, ...], field: str) -> tuple[tuple[int, ...], ...]:
        """Words as token sequences, as this tokenizer encodes each of them alone."""
        return tuple(tuple(self.tokenizer.encode(w, control_tokens=True, field=field)) for w in words)

    def _bias(self, bias: TokenBias) -> dict[int, float]:
        """Additive biases by token id; each token of a word gets the word's bias, as in stock."""
        self._check_ids(tuple(bias.token_ids), "logit_bias")
        by_id = dict(bias.token_ids)
        for word, weight in bias.words:
            for token in self.tokenizer.encode(word, control_tokens=True, field=EMBEDDING_BIAS_WORDS):
                by_id[token] = by_id.get(token, 0.0) + weight
        return by_id

    def _check_ids(self, ids: tuple[int, ...], field: str = INPUT_IDS) -> None:
        for token in ids:
            if not 0 <= token < self.tokenizer.vocab_size:
                raise InvalidRequest(f"token id {token} is not in [0, {self.tokenizer.vocab_size})", field)


def chunk_tokens(stream: bool, watched: bool) -> int:
    """`EngineRequest.chunk_tokens` of an answer. `watched`: its text is looked through for an end.

    Behind such an end up to 15 tokens more are generated, as many as make their messages cheap.
    """
    if stream:
        return 1
    return _WATCHED_TOKENS if watched else 0


def _ends_by_call(request: GenerateRequest) -> bool:
    return bool(request.tools) and not request.parallel_tool_calls


def _output_length(prompt_tokens: int, max_tokens: int | None, context: int, *, clamp: bool) -> int:
    """`max_tokens`, or the rest of the context; with `clamp` the smaller of them. Raises InvalidRequest for what cannot fit."""
    room = context - prompt_tokens
    if room < 1:
        raise InvalidRequest(
            f"{CONTEXT_EXCEEDED} {context} tokens. However, the prompt resulted in {prompt_tokens} tokens, "
            "which leaves none for an answer; shorten it",
            TEXT_INPUT,
        )
    if max_tokens is not None and max_tokens > room and not clamp:
        raise InvalidRequest(
            f"{max_tokens} is too large: the prompt has {prompt_tokens} tokens and the context is "
            f"{context}, which leaves {room}",
            "max_tokens",
        )
    return min(max_tokens or room, room)


def _resolved(sampling: SamplingParams, limit: int) -> SamplingParams:
    """With length and seed set; `best_of` needs log probs to rank the sequences."""
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    ranked = sampling.sequences > sampling.n
    logprobs = 0 if ranked and sampling.logprobs is None else sampling.logprobs
    return sampling.resolved(limit, seed, logprobs)


def split_sequences(base: EngineRequest) -> tuple[EngineRequest, ...]:
    """One engine request a sequence; sample i has the seed of the first plus i, which alone has the prompt's log probs.

    Raises InvalidRequest.
    """
    sampling = base.sampling
    if sampling.beam_width > 1:
        _check_beams(base)
        return (base,)
    if sampling.sequences > sampling.n and base.stream:
        raise InvalidRequest("the best sequences are known at the end only; ask for stream = false", "best_of")
    if sampling.n == 1 and sampling.best_of is None:
        return (base,)
    seed, one = sampling.seed or 0, replace(sampling, n=1, best_of=None)
    others = one if one.prompt_logprobs is None else replace(one, prompt_logprobs=None)
    return tuple(
        replace(base, sampling=replace(others if i else one, seed=(seed + i) % 2**64))
        for i in range(sampling.sequences)
    )


def _check_beams(request: EngineRequest) -> None:
    if request.stream:
        raise InvalidRequest("beams are known at the end only; ask for stream = false", "stream")
    if request.sampling.sequences > request.sampling.beam_width:
        raise InvalidRequest("at most beam_width sequences are found", NUM_RETURN_SEQUENCES)
