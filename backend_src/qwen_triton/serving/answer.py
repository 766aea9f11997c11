"""Answers of sequences, and what differs between an answer in text and one in token ids: its stream and its arrays.

Knows neither Triton nor when a response is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..tensors.arrays import Array
from ..types import EngineRequest, PromptLogProbs, TextChunk, TokenChunk


@dataclass(slots=True)
class SequenceAnswer:
    """Answer of one sequence, collected for a response that holds all of it. `end` is the last chunk so far."""

    sequence: int
    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    top_log_probs: list[Sequence[tuple[int, float]]] = field(default_factory=list)
    end: TextChunk | None = None

    def add(self, piece: TextChunk) -> None:
        """Appends the next chunk."""
        self.text.append(piece.text)
        self.token_ids += piece.token_ids
        self.log_probs += piece.log_probs
        self.top_log_probs += piece.top_log_probs
        self.end = piece

    @property
    def cum_log_prob(self) -> float:
        """The engine's sum of log probs (natural log) where it gives one, else the sum of the tokens' own."""
        given = self.end.cum_log_prob if self.end else None
        return sum(self.log_probs) if given is None else given


@dataclass(frozen=True, slots=True)
class ChoiceIndex:
    """Which choice of a request a chunk belongs to, and what its response needs to know of it.

    `row`: index of the prompt; `sequence`: index within the row; `only`: the request has no other sequence; `first`: it
    is the sequence's first chunk.
    """

    row: int
    sequence: int
    only: bool
    first: bool


class Stream(Protocol):
    """Turns the token chunks of one sequence into chunks of text (TextStream) or of ids (TokenStream) until `done`."""

    @property
    def done(self) -> bool:
        """Whether the sequence has ended."""

    def feed(self, chunk: TokenChunk) -> TextChunk | None:
        """What can be sent now, if anything; always something, the last chunk, when this one ends the sequence."""


class AnswerEncoder(Protocol):
    """Opens the streams of a request's sequences and encodes their chunks as arrays by output name."""

    def open(self, row: int, request: EngineRequest, sequence: int) -> Stream:
        """A stream for sequence `sequence` of prompt `row`."""

    def add_prompt(self, row: int, request: EngineRequest, prompt: PromptLogProbs) -> None:
        """Takes the log probs of prompt `row`, before any of its first sequence's chunks is encoded."""

    def piece(self, piece: TextChunk, choice: ChoiceIndex) -> Mapping[str, Array]:
        """A streamed chunk as arrays of shape [1, 1] or [1, 1, tokens]; a text is [1]."""

    def whole(self, rows: Mapping[int, Sequence[SequenceAnswer]]) -> Mapping[str, Array]:
        """Whole answers of some prompts, by the prompt's row, as arrays [rows, sequences] or [rows, sequences, tokens].

        The sequences of a row follow each other. Texts are [rows * sequences].
        """


def fill_rows(rows: Iterable[Sequence[SequenceAnswer]]) -> list[list[SequenceAnswer]]:
    """Rows of equal length: a row with fewer sequences than the longest gets empty ones, because arrays have no gaps."""
    given = list(rows)
    most = max(map(len, given))
    return [[*answers, *(SequenceAnswer(n) for n in range(len(answers), most))] for answers in given]


def rows_with_first(rows: Mapping[int, Sequence[SequenceAnswer]]) -> list[int]:
    """The rows of a response if it holds the first sequence of one: what is said of a prompt goes with that, once."""
    return list(rows) if any(answers and answers[0].sequence == 0 for answers in rows.values()) else []


def places_of(rows: Mapping[int, Sequence[SequenceAnswer]]) -> list[tuple[int, int]]:
    """(row, first sequence) of each row."""
    return [(row, answers[0].sequence if answers else 0) for row, answers in rows.items()]
