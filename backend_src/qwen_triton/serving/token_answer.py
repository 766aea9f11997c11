"""Encodes answers in token ids as the outputs of `tensorrt_llm`, for the ensemble or for clients that send ids.

In an ensemble the postprocessing model sees each chunk alone, so a chunk for it must hold whole characters and nothing
behind a stop string. Where no cut between the generated ids does that, the chunk has other ids with the same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import InvalidRequest
from ..tensors.arrays import Array
from ..tensors.contract import NUM_INPUT_TOKENS, NUM_OUTPUT_TOKENS, STOP_WORDS, STOP_WORDS_LIST
from ..tensors.engine_inputs import EngineRow
from ..tensors.engine_outputs import (
    encode_cum_log_probs,
    encode_log_probs,
    encode_prompt_log_probs,
    encode_prompt_top_log_probs,
    encode_token_ids,
    encode_token_piece,
    encode_top_log_probs,
)
from ..tensors.usage import encode_ends, encode_place, encode_places
from ..text.text_stream import TextStream, refuse_control_token
from ..text.text_stream import resolve_stops as resolve_strings
from ..text.tokenizer import Tokenizer
from ..types import EngineRequest, PromptLogProbs, TextChunk, TokenChunk, Usage
from .answer import ChoiceIndex, SequenceAnswer, Stream, fill_rows, places_of, rows_with_first


def resolve_stops(row: EngineRow, tokenizer: Tokenizer | None) -> EngineRow:
    """Stop words as the text is scanned for them: an answer may spell the same text with other tokens.

    Words of several ids become strings, strings that are control tokens get their ids. Raises InvalidRequest where the
    model has no tokenizer, and for a word with a control token and other text.
    """
    words = () if row.for_text else row.request.stop_sequences
    if not words and not row.stop.strings:
        return row
    if tokenizer is None:
        field = STOP_WORDS_LIST if words else STOP_WORDS
        raise InvalidRequest("words of several tokens need tokenizer_dir in the model's parameters", field)
    stop = resolve_strings(row.stop, tokenizer, STOP_WORDS)
    stop = replace(stop, strings=(*stop.strings, *(_spelled(word, tokenizer) for word in words)))
    request = replace(row.request, stop_token_ids=stop.token_ids)
    return replace(row, request=request, stop=stop)


def _spelled(word: Sequence[int], tokenizer: Tokenizer) -> str:
    if control := next((i for i in word if tokenizer.is_special(i)), None):
        refuse_control_token(tokenizer.token_bytes(control).decode(), STOP_WORDS_LIST)
    return b"".join(map(tokenizer.token_bytes, word)).decode("utf-8", "replace")


class TokenStream:
    """A Stream that passes token ids on unchanged, without a tokenizer."""

    def __init__(self, prompt_tokens: int, sequence: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._sequence = sequence
        self._count = 0
        self._cached_tokens = 0
        self.done = False

    def feed(self, chunk: TokenChunk) -> TextChunk | None:
        """The chunk without text; None behind the end."""
        if self.done:
            return None
        self._count += len(chunk.token_ids) + (chunk.stop_token is not None)
        self._cached_tokens = chunk.cached_tokens or self._cached_tokens
        self.done = chunk.finish is not None
        return TextChunk(
            "",
            chunk.token_ids,
            chunk.log_probs,
            chunk.top_log_probs,
            chunk.finish,
            None,
            Usage(self._prompt_tokens, self._count, self._cached_tokens) if self.done else None,
            self._sequence,
            chunk.cum_log_prob,
        )


class TokenEncoder:
    """An AnswerEncoder of output_ids and sequence_length. Without a `tokenizer` ids are never cut at characters."""

    def __init__(self, rows: Sequence[EngineRow], tokenizer: Tokenizer | None) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        self._logprobs = [r.request.sampling.logprobs is not None or r.request.sampling.beam_width > 1 for r in rows]
        self._tops = [bool(r.request.sampling.logprobs) for r in rows]
        self._prompts: dict[int, PromptLogProbs] = {}

    def open(self, row: int, request: EngineRequest, sequence: int) -> Stream:
        given = self._rows[row]
        if self._tokenizer is None or not (given.for_text or given.stop.strings):
            return TokenStream(len(request.token_ids), sequence)
        return TextStream(
            self._tokenizer,
            given.stop,
            end_ids=request.end_ids,
            min_tokens=request.sampling.min_tokens,
            skip_special_tokens=False,
            prompt_tokens=len(request.token_ids),
            sequence=sequence,
        )

    def add_prompt(self, row: int, request: EngineRequest, prompt: PromptLogProbs) -> None:  # noqa: ARG002  as the protocol has it
        self._prompts[row] = prompt

    def piece(self, piece: TextChunk, choice: ChoiceIndex) -> Mapping[str, Array]:
        row = self._rows[choice.row]
        ids = self._ids(row, piece.token_ids, piece.text)
        arrays = encode_token_piece(ids)
        if not (choice.only and row.for_text):  # an ensemble asks for every output, whatever its caller asked for
            arrays |= encode_place(choice.row, choice.sequence)
        logprobs = self._logprobs[choice.row]
        if logprobs:
            arrays |= encode_log_probs([[piece.log_probs]])
            if self._tops[choice.row]:
                arrays |= encode_top_log_probs([[piece.top_log_probs]])
        if self._prompts and choice.first and choice.sequence == 0 and choice.row in self._prompts:
            arrays |= _encode_prompts([self._prompts[choice.row]])
        if piece.finish is not None:
            arrays |= self._ends(row, [[piece]])
            if logprobs:
                arrays |= encode_cum_log_probs([[piece.cum_log_prob or 0.0]])
        return arrays

    def whole(self, rows: Mapping[int, Sequence[SequenceAnswer]]) -> Mapping[str, Array]:
        full, given = fill_rows(rows.values()), [self._rows[r] for r in rows]
        ids = [[self._whole_ids(row, a) for a in answers] for row, answers in zip(given, full, strict=True)]
        arrays = {
            **encode_token_ids(ids, [row.request.pad_id for row in given]),
            **encode_places(places_of(rows)),
            **self._ends(given[0], [[a.end for a in row] for row in full]),
        }
        if any(self._logprobs[r] for r in rows):
            arrays |= encode_cum_log_probs([[a.cum_log_prob for a in row] for row in full])
            arrays |= encode_log_probs([[a.log_probs for a in row] for row in full])
        if any(self._tops[r] for r in rows):
            arrays |= encode_top_log_probs([[a.top_log_probs for a in row] for row in full])
        if self._prompts and (told := rows_with_first(rows)):
            arrays |= _encode_prompts([self._prompts.get(r, PromptLogProbs()) for r in told])
        return arrays

    def _ends(self, given: EngineRow, rows: Sequence[Sequence[TextChunk | None]]) -> dict[str, Array]:
        arrays = encode_ends(rows)
        if not given.counts_input:
            del arrays[NUM_INPUT_TOKENS]
        if not given.counts_output:
            del arrays[NUM_OUTPUT_TOKENS]
        return arrays

    def _whole_ids(self, row: EngineRow, answer: SequenceAnswer) -> Sequence[int]:
        ids = self._ids(row, answer.token_ids, "".join(answer.text))
        return [*row.request.token_ids, *ids] if row.echo else ids

    def _ids(self, row: EngineRow, ids: Sequence[int], text: str) -> Sequence[int]:
        if not row.for_text or self._tokenizer is None:
            return ids
        data = b"".join(map(self._tokenizer.token_bytes, ids))
        return ids if data == text.encode() else self._tokenizer.encode(text, control_tokens=True)


def _encode_prompts(prompts: Sequence[PromptLogProbs]) -> dict[str, Array]:
    return encode_prompt_log_probs(prompts) | encode_prompt_top_log_probs(prompts)
