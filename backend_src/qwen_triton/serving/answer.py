"""What one sequence has said so far, and the two things that differ between answers in text and answers in token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..tensors.arrays import Array
from ..types import EngineRequest, TextChunk, TokenChunk


@dataclass(slots=True)
class SequenceAnswer:
    """One sequence's answer, collected until it is sent whole."""

    sequence: int
    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    top_log_probs: list[Sequence[tuple[int, float]]] = field(default_factory=list)
    end: TextChunk | None = None

    def add(self, piece: TextChunk) -> None:
        self.text.append(piece.text)
        self.token_ids += piece.token_ids
        self.log_probs += piece.log_probs
        self.top_log_probs += piece.top_log_probs
        self.end = piece

    @property
    def cum_log_prob(self) -> float:
        said = self.end.cum_log_prob if self.end else None
        return sum(self.log_probs) if said is None else said


@dataclass(frozen=True, slots=True)
class ChoiceIndex:
    """Where a piece belongs: the row (prompt), the sequence of that row, and whether it is the only one."""

    row: int
    sequence: int
    only: bool
    first: bool


class Stream(Protocol):
    """One sequence's way from token chunks to pieces (see text_stream)."""

    done: bool

    def feed(self, chunk: TokenChunk) -> TextChunk | None: ...


class AnswerEncoder(Protocol):
    """Opens the streams of an answer and turns what comes out of them into arrays."""

    def open(self, row: int, request: EngineRequest, sequence: int) -> Stream:
        """The stream of one sequence of `row`."""

    def piece(self, piece: TextChunk, place: ChoiceIndex) -> Mapping[str, Array]:
        """A streamed piece as arrays of one row and one sequence."""

    def whole(self, rows: Sequence[Sequence[SequenceAnswer]]) -> Mapping[str, Array]:
        """All rows with all their sequences as arrays [rows, n, …]."""


def fill_rows(rows: Sequence[Sequence[SequenceAnswer]]) -> list[list[SequenceAnswer]]:
    """Rows of equal length: one that ended with fewer sequences gets empty ones."""
    most = max(map(len, rows))
    return [[*answers, *(SequenceAnswer(n) for n in range(len(answers), most))] for answers in rows]
