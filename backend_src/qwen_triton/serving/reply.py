"""One Triton request from token chunks to responses: streamed pieces, or everything at the end.

Rows are the request's prompts; each has some sequences. A streamed response holds a piece of one sequence, a whole
one all rows in order. What a piece looks like is the encoder's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..errors import Cancelled
from ..tensors.arrays import Array
from ..types import EngineRequest, TextChunk, TokenChunk
from .answer import AnswerEncoder, ChoiceIndex, SequenceAnswer, Stream
from .request_metrics import RequestTimer


class Reply:
    """A `pipeline.Call`. `rows[r]` are the sequences generated for prompt r, of which the `keep` likeliest are sent."""

    def __init__(
        self,
        responder: Responder,
        rows: Sequence[Sequence[EngineRequest]],
        encoder: AnswerEncoder,
        timer: RequestTimer,
        *,
        streamed: bool,
        keep: int,
    ) -> None:
        self.request_id = responder.request_id
        self._responder = responder
        self._encoder = encoder
        self._timer = timer
        self._streamed = streamed
        self._keep = keep
        self.requests = [request for row in rows for request in row]
        self._places = [(r, i) for r, row in enumerate(rows) for i in range(len(row))]
        self._open = set(range(len(self.requests)))
        self._streams: dict[tuple[int, int], tuple[Stream, SequenceAnswer]] = {}
        self._answers: list[list[SequenceAnswer]] = [[] for _ in rows]

    def feed(self, index: int, chunk: TokenChunk) -> bool:
        stream, answer = self._streams.get((index, chunk.sequence)) or self._open_stream(index, chunk.sequence)
        piece = stream.feed(chunk)
        done = stream.done and chunk.last
        if done:
            self._open.discard(index)
        if piece is not None:
            self._take(self._places[index][0], answer, piece)
        return done

    def flush(self) -> None:
        self._responder.flush()

    def fail(self, error: Exception) -> None:
        self._timer.failed(error)
        self._responder.fail(error)

    def abandoned(self) -> bool:
        return self._responder.gone()

    def close(self) -> None:
        self.fail(Cancelled("the request was cancelled"))

    def _open_stream(self, index: int, beam: int) -> tuple[Stream, SequenceAnswer]:
        row, number = self._places[index]
        stream = self._encoder.open(row, self.requests[index], number + beam)
        answer = SequenceAnswer(number + beam)
        self._answers[row].append(answer)
        self._streams[index, beam] = stream, answer
        return stream, answer

    def _take(self, row: int, answer: SequenceAnswer, piece: TextChunk) -> None:
        self._timer.tokens(len(piece.token_ids))
        if piece.finish is not None:
            self._timer.finished(piece)
        final = not self._open
        if self._streamed:
            place = ChoiceIndex(row, answer.sequence, len(self.requests) == 1, answer.end is None)
            answer.end = piece
            self._responder.write(self._encoder.piece(piece, place), final=final and piece.finish is not None)
        else:
            answer.add(piece)
            if final:
                self._responder.write(self._encoder.whole([self._best(row) for row in self._answers]), final=True)

    def _best(self, answers: list[SequenceAnswer]) -> list[SequenceAnswer]:
        """In order of generation; the likeliest first where more were generated than are kept."""
        ranked = sorted(answers, key=lambda a: a.sequence)
        if len(ranked) <= self._keep:
            return ranked
        return sorted(ranked, key=lambda a: -a.cum_log_prob)[: self._keep]


class Responder(Protocol):
    """Sends the responses of one Triton request. Used by one thread at a time, that of its sender."""

    request_id: str

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Makes one response of the arrays that the client asked for; the last one is `final`."""

    def flush(self) -> None:
        """Sends what was written."""

    def fail(self, error: Exception) -> None:
        """Sends what was written and ends the request with an error."""

    def gone(self) -> bool:
        """Whether the client has left (a round trip to the server)."""
