"""An answer in text under way: its pieces as they come, and the result of each sequence at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import FinishReason, Usage

from .transport.transport import ResponseStream


@dataclass(frozen=True, slots=True)
class TextResult:
    """A finished answer. `finish_reason` and `usage` are None where the model does not have them (stock's do not).

    `prompt_logprobs`: those of the prompt's tokens, of the first sequence only.

    A cancelled answer has finish_reason «cancelled» and the text that came before.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    stop_reason: str | int | None = None
    logprobs: tuple[Mapping[str, Any], ...] = ()
    prompt_logprobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class _Collected:
    """What has come of one sequence. `accumulated`: each piece is the whole text so far."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    prompt_logprobs: tuple[Mapping[str, Any], ...] = ()
    end: TextPiece | None = None

    def add(self, piece: TextPiece, accumulated: bool) -> None:
        if accumulated:
            self.texts.clear()
        self.texts.append(piece.text)
        self.logprobs += piece.logprobs or ()
        if piece.prompt_logprobs is not None:
            self.prompt_logprobs = tuple(piece.prompt_logprobs)
        self.end = piece if piece.finish else self.end

    def result(self, cancelled: bool) -> TextResult:
        end = self.end or TextPiece("", finish="cancelled" if cancelled else None)
        logprobs = tuple(self.logprobs)
        return TextResult("".join(self.texts), end.finish, end.usage, end.stop_reason, logprobs, self.prompt_logprobs)


class TextAnswer:
    """Iterate for the text of a single sequence, or over `pieces()` of several. `result` is complete at the end.

    `cancel()` ends it from any thread, and so does leaving a `with` block early; iteration then ends without an error.
    """

    def __init__(self, responses: ResponseStream, sequences: int = 1, accumulated: bool = False) -> None:
        self._responses = responses
        self._collected = [_Collected() for _ in range(sequences)]
        self._accumulated = accumulated
        self._cancelled = False
        self._done = False

    def __iter__(self) -> Iterator[str]:
        if len(self._collected) > 1:
            raise InvalidRequest("several answers at once: iterate over pieces()", "n")
        return (piece.text for piece in self.pieces() if piece.text)

    def pieces(self) -> Iterator[TextPiece]:
        """Raises a QwenTritonError for whatever ends the answer but its end and `cancel`."""
        try:
            for pieces in self._responses:
                for piece in pieces:
                    self._of(piece.sequence).add(piece, self._accumulated)
                    yield piece
        except Cancelled:
            if not self._cancelled:
                raise
        self._done = True

    def cancel(self) -> None:
        self._cancelled = True
        self._responses.cancel()

    @property
    def result(self) -> TextResult:
        """The first sequence's result, of what has come so far."""
        return self.results[0]

    @property
    def results(self) -> list[TextResult]:
        return [one.result(self._cancelled) for one in self._collected]

    def finish(self) -> list[TextResult]:
        """Waits for the end and returns every sequence's result."""
        for _ in self.pieces():
            pass
        return self.results

    def _of(self, sequence: int) -> _Collected:
        if sequence >= len(self._collected):
            raise EngineError(f"the model answered with more sequences than the {len(self._collected)} asked for")
        return self._collected[sequence]

    def __enter__(self) -> TextAnswer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self.cancel()
