"""Encodes answers in text as the outputs of `tensorrt_llm_bls`: text, log probs, finish reason, usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..chat.reader import opens_thinking, reader_of
from ..tensors.arrays import Array
from ..tensors.contract import NUM_INPUT_TOKENS, NUM_OUTPUT_TOKENS
from ..tensors.engine_outputs import encode_metrics, encode_prompt_log_probs
from ..tensors.text_outputs import (
    TokenLogprobs,
    encode_answer_ids,
    encode_prompt_ids,
    encode_prompt_logprobs,
    encode_text_piece,
    encode_text_whole,
)
from ..text.text_stream import TextStream
from ..text.thinking_tokens import ThinkingTokens
from ..text.tokenizer import Tokenizer
from ..types import EngineRequest, GenerateRequest, PromptLogProbs, TextChunk, TokenChunk
from .answer import ChoiceIndex, SequenceAnswer, Stream, fill_rows, places_of, rows_with_first


class TextEncoder:
    """An AnswerEncoder for the rows of one request. `echo`: whether the prompt precedes a whole answer where a row does not
    say; a stream has it only where its row asks for it, as stock's engine has it. `tool_format`: the name of the format of
    the checkpoint's tool calls, which chats with tools are told."""

    def __init__(
        self,
        rows: Sequence[GenerateRequest],
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool,
        echo: bool,
        tool_format: str = "",
    ) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        echoed = ((echo and not row.stream) if row.echo is None else row.echo for row in rows)
        self._echoes = {r: "" for r, told in enumerate(echoed) if told}
        self._streams: dict[tuple[int, int], TextStream] = {}
        self._thinking = [False] * len(rows)
        self._tool_formats = [tool_format if row.tools and row.messages is not None else "" for row in rows]
        self._logprobs = [row.sampling.logprobs is not None or row.sampling.beam_width > 1 for row in rows]
        self._prompts: dict[int, tuple[Sequence[int], PromptLogProbs]] = {}
        self._prompt_ids: dict[int, Sequence[int]] = {}
        """Of the rows whose answers have token ids."""

    def open(self, row: int, request: EngineRequest, sequence: int) -> Stream:
        given = self._rows[row]
        if given.return_token_ids:
            self._prompt_ids[row] = request.token_ids
        if row in self._echoes:
            self._echoes[row] = given.prompt or self._tokenizer.decode(request.token_ids, self._skip_special_tokens)
        self._thinking[row] = given.messages is not None and opens_thinking(request.token_ids, self._tokenizer)
        stream = self._streams[row, sequence] = TextStream(
            self._tokenizer,
            given.stop,
            end_ids=request.end_ids,
            min_tokens=request.sampling.min_tokens,
            skip_special_tokens=self._skip_special_tokens,
            accumulate=bool(given.accumulate) and given.stream,
            prompt_tokens=len(request.token_ids),
            sequence=sequence,
            ends=_first_call_closed(given, self._thinking[row], self._tool_formats[row]),
            thinking=self._thinking_tokens(row) if given.messages is not None else None,
        )
        return MeasuredStream(stream) if given.perf_metrics else stream

    def _thinking_tokens(self, row: int) -> ThinkingTokens | None:
        """The count of thinking; None for a tokenizer that writes its tags with several tokens."""
        opening, closing = self._tokenizer.encode("<think>"), self._tokenizer.encode("</think>")
        if len(opening) != 1 or len(closing) != 1:
            return None
        return ThinkingTokens(opening[0], closing[0], opened=self._thinking[row])

    def add_prompt(self, row: int, request: EngineRequest, prompt: PromptLogProbs) -> None:
        self._prompts[row] = (request.token_ids, prompt)

    def piece(self, piece: TextChunk, choice: ChoiceIndex) -> Mapping[str, Array]:
        row = self._rows[choice.row]
        counted = row.count_pieces or (choice.first and row.count_first)
        echo = self._echoes.get(choice.row, "") if choice.first or row.accumulate else ""
        arrays = encode_text_piece(
            piece._replace(text=echo + piece.text) if echo else piece,
            (choice.row, choice.sequence),
            usage=self._streams[choice.row, choice.sequence].usage if counted else None,
            logprobs=token_logprobs(piece, self._tokenizer) if self._logprobs[choice.row] else None,
            reasoning_opened=choice.first and self._thinking[choice.row],
            tool_format=self._tool_formats[choice.row] if choice.first else "",
        )
        if self._prompts and choice.first and choice.sequence == 0 and choice.row in self._prompts:
            arrays |= self._encode_prompts([choice.row])
        if row.return_token_ids:
            arrays |= encode_answer_ids([[piece]])
            if choice.first and choice.sequence == 0:
                arrays |= encode_prompt_ids([self._prompt_ids[choice.row]])
        return arrays if row.counts_input and row.counts_output else _without_counts(arrays, [row])

    def whole(self, rows: Mapping[int, Sequence[SequenceAnswer]]) -> Mapping[str, Array]:
        chunks = [
            [_whole(a, self._echoes.get(r, "")) for a in answers]
            for r, answers in zip(rows, fill_rows(rows.values()), strict=True)
        ]
        told = any(self._logprobs[r] for r in rows)
        logprobs = [[token_logprobs(chunk, self._tokenizer) for chunk in row] for row in chunks] if told else None
        thinking, tool_formats = [self._thinking[r] for r in rows], [self._tool_formats[r] for r in rows]
        arrays = encode_text_whole(chunks, places_of(rows), thinking, logprobs, tool_formats)
        if self._prompts and (first := rows_with_first(rows)):
            arrays |= self._encode_prompts(first)
        if any(self._rows[r].return_token_ids for r in rows):
            arrays |= encode_answer_ids(chunks)
            if first := rows_with_first(rows):
                arrays |= encode_prompt_ids([self._prompt_ids.get(r, ()) for r in first])
        if any(self._rows[r].perf_metrics for r in rows):
            arrays |= self._encode_metrics(dict(zip(rows, chunks, strict=True)))
        return _without_counts(arrays, [self._rows[r] for r in rows])

    def _encode_metrics(self, rows: Mapping[int, Sequence[TextChunk]]) -> dict[str, Array]:
        """The metrics of each row's sequences; of a beam search, which is one sequence to the engine, those of one beam."""
        beams = any(self._rows[r].sampling.beam_width > 1 for r in rows)
        return encode_metrics(
            [[c.metrics or {} for c in (chunks[:1] if beams else chunks)] for chunks in rows.values()]
        )

    def _encode_prompts(self, rows: Sequence[int]) -> dict[str, Array]:
        """The log probs of the prompts of these rows, as numbers and as JSON."""
        found = [self._prompts.get(row, ((), PromptLogProbs())) for row in rows]
        texts = [prompt_logprobs(ids, prompt, self._tokenizer) if ids else None for ids, prompt in found]
        return encode_prompt_log_probs([prompt for _, prompt in found]) | encode_prompt_logprobs(texts)


class MeasuredStream:
    """A stream whose last chunk has the latest of the engine's metrics; an engine gives those so far with each chunk."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        self._metrics: Mapping[str, bytes] | None = None

    @property
    def done(self) -> bool:
        """Whether the sequence has ended."""
        return self._stream.done

    def feed(self, chunk: TokenChunk) -> TextChunk | None:
        """As TextStream's."""
        self._metrics = chunk.metrics or self._metrics
        piece = self._stream.feed(chunk)
        return piece if piece is None or piece.finish is None else piece._replace(metrics=self._metrics)


def _first_call_closed(
    request: GenerateRequest, thinking_opened: bool, tool_format: str
) -> Callable[[str], bool] | None:
    """Says after each text of an answer whether its first tool call is closed; None where that does not end it."""
    if request.parallel_tool_calls or not request.tools or request.messages is None:
        return None
    reader = reader_of(request, thinking_opened, tool_format)

    def closed(text: str) -> bool:
        reader.feed(text)
        return reader.over

    return closed


def _without_counts(arrays: dict[str, Array], rows: Sequence[GenerateRequest]) -> dict[str, Array]:
    """The outputs without a token count that none of the rows wants."""
    counted = {
        NUM_INPUT_TOKENS: any(row.counts_input for row in rows),
        NUM_OUTPUT_TOKENS: any(row.counts_output for row in rows),
    }
    return {name: array for name, array in arrays.items() if counted.get(name, True)}


def _whole(answer: SequenceAnswer, echo: str) -> TextChunk:
    """A whole answer as one chunk; that of a sequence that never began has no end."""
    return (answer.end or TextChunk())._replace(
        text=echo + "".join(answer.text),
        token_ids=answer.token_ids,
        log_probs=answer.log_probs,
        top_log_probs=answer.top_log_probs,
        cum_log_prob=answer.cum_log_prob,
    )


def token_logprobs(chunk: TextChunk, tokenizer: Tokenizer) -> TokenLogprobs:
    """OpenAI's `logprobs.content` of a chunk: one entry for each token with a log prob."""
    tops = chunk.top_log_probs or [()] * len(chunk.log_probs)
    return [
        _token(i, log_prob, tokenizer) | {"top_logprobs": [_token(t, p, tokenizer) for t, p in top]}
        for i, log_prob, top in zip(chunk.token_ids, chunk.log_probs, tops, strict=False)
    ]


def prompt_logprobs(token_ids: Sequence[int], prompt: PromptLogProbs, tokenizer: Tokenizer) -> TokenLogprobs:
    """The entries of `token_logprobs` for a prompt, with the ids; the first token has no log prob, which is null."""
    tops = ((), *(prompt.top_log_probs or [()] * len(prompt.log_probs)))
    return [
        {
            "id": i,
            **_token(i, log_prob, tokenizer),
            "top_logprobs": [{"id": t, **_token(t, p, tokenizer)} for t, p in top],
        }
        for i, log_prob, top in zip(token_ids, (None, *prompt.log_probs), tops, strict=False)
    ]


_LOWEST = -9999.0
"""OpenAI's value for a token that is next to impossible; JSON has no infinity."""


def _token(token_id: int, log_prob: float | None, tokenizer: Tokenizer) -> dict[str, Any]:
    data = tokenizer.token_bytes(token_id)
    shown = None if log_prob is None else max(log_prob, _LOWEST)
    return {"token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": shown}
