"""A reply: one Triton request from its admission to its last response.

Rows are the request's prompts; each has one or more sequences. A streamed response holds new text of one sequence, any
other one holds all rows in order. Knows neither Triton (`Responder`) nor which arrays a response has (`AnswerEncoder`).
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
    """Makes responses of a request's chunks. Used by one thread at a time, that of its sender.

    `rows[r]`: the sequences generated for prompt r. `keep`: how many of them are sent, the likeliest ones. `streamed`:
    a response for each chunk with text, else one response at the end.
    """

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
        self.requests = [request for row in rows for request in row]
        """All sequences, row by row; their places in it are the indexes that `add_chunk` takes."""
        self.begun = False
        """Whether a chunk has been added."""
        self.told = False
        """Whether the caller gets something of the answer: a response has been written."""
        self._responder = responder
        self._encoder = encoder
        self._timer = timer
        self._streamed = streamed
        self._keep = keep
        self._indexes = [(r, i) for r, row in enumerate(rows) for i in range(len(row))]
        self._open = set(range(len(self.requests)))
        self._streams: dict[tuple[int, int], tuple[Stream, SequenceAnswer]] = {}
        self._answers: list[list[SequenceAnswer]] = [[] for _ in rows]

    def add_chunk(self, index: int, chunk: TokenChunk) -> bool:
        """Adds new tokens of sequence `index` and writes the response that is due. True: it needs no more tokens."""
        self.begun = True
        stream, answer = self._streams.get((index, chunk.sequence)) or self._open_stream(index, chunk.sequence)
        piece = stream.feed(chunk)
        done = stream.done and chunk.last
        if done:
            self._open.discard(index)
        if piece is not None:
            self._add_text(self._indexes[index][0], answer, piece)
        return done

    def flush(self) -> None:
        """Sends the responses that were written."""
        self._responder.flush()

    def fail(self, error: Exception) -> None:
        """Ends the request with an error."""
        self._timer.failed(error)
        self._responder.fail(error)

    def client_gone(self) -> bool:
        """Whether the client has disconnected. A round trip to the server; any thread may ask."""
        return self._responder.gone()

    def close(self) -> None:
        """Ends the request of a client that has disconnected."""
        self.fail(Cancelled("the request was cancelled"))

    def _open_stream(self, index: int, beam: int) -> tuple[Stream, SequenceAnswer]:
        row, number = self._indexes[index]
        stream = self._encoder.open(row, self.requests[index], number + beam)
        answer = SequenceAnswer(number + beam)
        self._answers[row].append(answer)
        self._streams[index, beam] = stream, answer
        return stream, answer

    def _add_text(self, row: int, answer: SequenceAnswer, piece: TextChunk) -> None:
        self._timer.tokens(len(piece.token_ids))
        if piece.finish is not None:
            self._timer.finished(piece)
        final = not self._open
        self.told = self._streamed or final
        if self._streamed:
            choice = ChoiceIndex(row, answer.sequence, len(self.requests) == 1, answer.end is None)
            answer.end = piece
            self._responder.write(self._encoder.piece(piece, choice), final=final and piece.finish is not None)
        else:
            answer.add(piece)
            if final:
                self._responder.write(self._encoder.whole([self._best(row) for row in self._answers]), final=True)

    def _best(self, answers: list[SequenceAnswer]) -> list[SequenceAnswer]:
        """In order of their sequence; where more were generated than are kept, the likeliest ones, likeliest first."""
        ranked = sorted(answers, key=lambda a: a.sequence)
        if len(ranked) <= self._keep:
            return ranked
        return sorted(ranked, key=lambda a: -a.cum_log_prob)[: self._keep]


class Responder(Protocol):
    """Sends the responses of one Triton request. Used by its sender's thread, but for `gone`."""

    request_id: str

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Builds one response of those arrays that the client asked for; the last one is `final`."""

    def flush(self) -> None:
        """Sends the responses that were written."""

    def fail(self, error: Exception) -> None:
        """Sends the responses that were written and ends the request with an error."""

    def gone(self) -> bool:
        """Whether the client has disconnected. A round trip to the server; any thread may ask."""
