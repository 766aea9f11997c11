"""Encodes a text completion, as server-sent events and whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece, merge_pieces

from .chunks import DONE, ChunkFrame, ChunkWriter
from .legacy_logprobs import NO_PROMPT, LegacyLogprobs, PromptLogprobsForm
from .usage import UsageCount


class CompletionWriter(ChunkWriter):
    """Encodes each piece as one chunk; a choice's last one has its finish reason.

    `last`: a final chunk has the usage; `each`: every chunk has the usage so far. The log probs of a prompt come with the
    first chunk of its only choice.
    """

    def __init__(
        self,
        frame: ChunkFrame,
        usage: UsageCount,
        *,
        last: bool,
        each: bool,
        prompts: PromptLogprobsForm = NO_PROMPT,
    ) -> None:
        self._frame = frame
        self._usage = usage
        self._last_usage = last
        self._each_usage = each
        self._prompts = prompts
        self._logprobs: dict[int, LegacyLogprobs] = {}

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        return b"".join([self._chunk(piece) for piece in pieces])

    def end(self) -> bytes:
        """The usage chunk, if requested, and the end mark."""
        return (self._frame.chunk(b"", self._usage.as_json()) if self._last_usage else b"") + DONE

    def _chunk(self, piece: TextPiece) -> bytes:
        self._usage.add(piece)
        end = b'"finish_reason":null}'
        if piece.finish:
            end = orjson.dumps({"finish_reason": piece.finish, "stop_reason": piece.stop_reason})[1:]
        if piece.prompt_logprobs is not None and (own := self._prompts.own(piece.prompt_logprobs)):
            end = orjson.dumps(own)[1:-1] + b"," + end
        if ids := ids_of(piece, piece.prompt_ids):
            end = orjson.dumps(ids)[1:-1] + b"," + end
        logprobs = b"null" if piece.logprobs is None else orjson.dumps(self._legacy(piece))
        text = orjson.dumps(piece.text)
        choice = b'{"index":%d,"text":%b,"logprobs":%b,%b' % (piece.sequence, text, logprobs, end)
        return self._frame.chunk(choice, self._usage.as_json() if self._each_usage else None)

    def _legacy(self, piece: TextPiece) -> dict[str, Any]:
        tokens = self._logprobs.setdefault(piece.sequence, LegacyLogprobs())
        return tokens.convert([*self._prompts.before(piece.prompt_logprobs), *(piece.logprobs or ())])


def completion_choices(
    pieces: Sequence[TextPiece], usage: UsageCount, n: int = 1, prompts: PromptLogprobsForm = NO_PROMPT
) -> list[dict[str, Any]]:
    """The choices of a whole answer, `n` of each prompt."""
    of_prompts, prompt_ids = {}, {}
    for piece in pieces:
        usage.add(piece)
        if piece.prompt_ids is not None:
            prompt_ids[piece.sequence // n] = piece.prompt_ids
        if piece.prompt_logprobs is not None:
            of_prompts[piece.sequence // n] = piece.prompt_logprobs
    return [
        {
            "index": piece.sequence,
            "text": piece.text,
            "logprobs": None
            if piece.logprobs is None
            else LegacyLogprobs().convert([*prompts.before(of_prompts.get(piece.sequence // n)), *piece.logprobs]),
            **prompts.own(of_prompts.get(piece.sequence // n)),
            **ids_of(piece, prompt_ids.get(piece.sequence // n)),
            "finish_reason": piece.finish,
            "stop_reason": piece.stop_reason,
        }
        for piece in sorted(merge_pieces(pieces), key=lambda p: p.sequence)
    ]


def ids_of(piece: TextPiece, prompt_ids: list[int] | None) -> dict[str, Any]:
    """The fields of a choice with token ids, as far as they are there."""
    found = {"token_ids": piece.token_ids, "prompt_token_ids": prompt_ids}
    return {name: ids for name, ids in found.items() if ids is not None}
