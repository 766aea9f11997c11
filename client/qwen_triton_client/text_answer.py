"""One answer under way: pieces as they come, then what it was as a whole."""

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
class Result:
    """A finished answer. `finish_reason` and `usage` are None where the model does not tell (stock's do not).

    A cancelled one has finish_reason «cancelled» and the text that came before.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    stop_reason: str | int | None = None
    logprobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class _Told:
    texts: list[str] = field(default_factory=list)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    end: TextPiece | None = None

    def add(self, piece: TextPiece, accumulated: bool) -> None:
        if accumulated:
            self.texts.clear()
        self.texts.append(piece.text)
        self.logprobs += piece.logprobs or ()
        self.end = piece if piece.finish else self.end

    def result(self, cancelled: bool) -> Result:
        end = self.end or TextPiece("", finish="cancelled" if cancelled else None)
        return Result("".join(self.texts), end.finish, end.usage, end.stop_reason, tuple(self.logprobs))


class TextAnswer:
    """Iterate for the text of a single sequence; `pieces()` for any number of them. `result` is there at the end.

    `cancel()` ends it from any thread; so does leaving a `with` block early. Then iteration ends without an error.
    """

    def __init__(self, responses: ResponseStream, sequences: int = 1, accumulated: bool = False) -> None:
        self._responses = responses
        self._told = [_Told() for _ in range(sequences)]
        self._accumulated = accumulated
        self._cancelled = False
        self._done = False

    def __iter__(self) -> Iterator[str]:
        if len(self._told) > 1:
            raise InvalidRequest("several answers at once: iterate over pieces()", "n")
        return (piece.text for piece in self.pieces() if piece.text)

    def pieces(self) -> Iterator[TextPiece]:
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
    def result(self) -> Result:
        """The only sequence's result; what has not come yet is not in it."""
        return self.results[0]

    @property
    def results(self) -> list[Result]:
        return [told.result(self._cancelled) for told in self._told]

    def finish(self) -> list[Result]:
        """Waits for the end and returns every sequence's result."""
        for _ in self.pieces():
            pass
        return self.results

    def _of(self, sequence: int) -> _Told:
        if sequence >= len(self._told):
            raise EngineError(f"the model answered with more sequences than the {len(self._told)} asked for")
        return self._told[sequence]

    def __enter__(self) -> TextAnswer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self.cancel()
