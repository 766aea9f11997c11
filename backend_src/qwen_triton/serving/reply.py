"""A reply: one request from its admission to its last response; before that, a preparation.

Rows are the request's prompts; each has one or more sequences. A streamed response holds new text of one sequence. A
whole answer is a response for each sequence, as stock sends it, or, from a model that may send one response only, a
response with all rows in order. Knows neither Triton (`Responder`) nor which arrays a response has (`AnswerEncoder`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import Cancelled, InvalidRequest, QwenTritonError
from ..tensors.arrays import Array
from ..types import EngineRequest, TextChunk, TokenChunk
from .answer import AnswerEncoder, ChoiceIndex, SequenceAnswer, Stream
from .request_metrics import RequestTimer


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What is generated for one prompt, and how it is sent.

    `keep`: how many of the sequences (or of the beams of the only one) are sent, the likeliest ones. `streamed`: a response
    for each chunk with text.
    """

    sequences: Sequence[EngineRequest]
    streamed: bool
    keep: int

    @property
    def ranked(self) -> bool:
        """Whether what is sent is known at the end of all sequences only."""
        return len(self.sequences) > self.keep or self.sequences[0].sampling.beam_width > 1


class Preparation:
    """A request whose prompts are made on another thread: from its arrival to its admission or its end. Any thread.

    `prompts`: how many it has; `size`: their bytes. `timeout_s`: the longest it may wait for a slot of the engine, from now.
    """

    __slots__ = ("_responder", "_timer", "_until", "call", "cancelled", "prompts", "request_id", "size")

    def __init__(
        self, responder: Responder, timer: RequestTimer, *, prompts: int, size: int, timeout_s: float | None, call: str
    ) -> None:
        self.call = call
        self.request_id = responder.request_id
        self.prompts = prompts
        self.size = size
        self.cancelled = False
        """Whether it is to end with finish «cancelled» as soon as it is made."""
        self._responder = responder
        self._timer = timer
        self._until = None if timeout_s is None else time.monotonic() + timeout_s

    def wait_s(self) -> float | None:
        """How long it may still wait for a slot, at least 0; None without a bound."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def client_gone(self) -> bool:
        """Whether the client has disconnected. A round trip to the server."""
        return self._responder.gone()

    def submitted(self) -> None:
        """Counts that it has reached the engine."""
        self._timer.submitted()

    def fail(self, error: Exception) -> None:
        """Ends the request with an error."""
        self._timer.failed(error)
        self._responder.fail(error)


class Reply:
    """Makes responses of a request's chunks. Used by one thread at a time, that of its sender.

    `rows[r]`: the plan for prompt r. `at_once`: one response holds all whole answers; no row is streamed then. `call`: a
    random name by which it is cancelled. `through_server`: sending a response is a round trip to the server, and only asking
    it tells that the client has disconnected.
    """

    def __init__(
        self,
        responder: Responder,
        rows: Sequence[RowPlan],
        encoder: AnswerEncoder,
        timer: RequestTimer,
        *,
        at_once: bool,
        call: str = "",
        through_server: bool = True,
    ) -> None:
        self.call = call
        self.request_id = responder.request_id
        self.requests = [request for row in rows for request in row.sequences]
        """All sequences, row by row; their places in it are the indexes that `add_chunk` takes."""
        self.sequences = sum(request.sampling.beam_width for request in self.requests)
        """How many an engine generates: a beam search is one of `requests` and has several."""
        self.begun = False
        """Whether a chunk has been added."""
        self.through_server = through_server
        self._responder = responder
        self._encoder = encoder
        self._timer = timer
        self._rows = rows
        self._at_once = at_once
        self._indexes = [(r, i) for r, row in enumerate(rows) for i in range(len(row.sequences))]
        self._open = set(range(len(self.requests)))
        self._streams: dict[tuple[int, int], tuple[Stream, SequenceAnswer]] = {}
        self._answers: list[list[SequenceAnswer]] = [[] for _ in rows]

    def add_chunk(self, index: int, chunk: TokenChunk) -> bool:
        """Adds new tokens of sequence `index` and writes the response that is due. True: it needs no more tokens."""
        self.begun = True
        stream, answer = self._streams.get((index, chunk.sequence)) or self._open_stream(index, chunk)
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

    def numbered(self, index: int, error: QwenTritonError) -> QwenTritonError:
        """The error of sequence `index`, with its prompt's number if it is the caller's fault and there are several prompts."""
        several = len(self._answers) > 1
        return error.in_row(self._indexes[index][0]) if several and isinstance(error, InvalidRequest) else error

    def client_gone(self) -> bool:
        """Whether the client has disconnected. May be a round trip to the server; any thread may ask."""
        return self._responder.gone()

    def close(self) -> None:
        """Ends the request of a client that has disconnected."""
        self.fail(Cancelled())

    def _open_stream(self, index: int, chunk: TokenChunk) -> tuple[Stream, SequenceAnswer]:
        (row, number), beam = self._indexes[index], chunk.sequence
        stream = self._encoder.open(row, self.requests[index], number + beam)
        answer = SequenceAnswer(number + beam)
        if chunk.prompt is not None:
            self._encoder.add_prompt(row, self.requests[index], chunk.prompt)
        self._answers[row].append(answer)
        self._streams[index, beam] = stream, answer
        return stream, answer

    def _add_text(self, row: int, answer: SequenceAnswer, piece: TextChunk) -> None:
        self._timer.tokens(len(piece.token_ids))
        if piece.finish is not None:
            self._timer.finished(piece)
        if self._rows[row].streamed:
            choice = ChoiceIndex(row, answer.sequence, len(self.requests) == 1, answer.end is None)
            answer.end = piece
            final = piece.finish is not None and not self._open
            self._responder.write(self._encoder.piece(piece, choice), final=final)
            return
        answer.add(piece)
        if self._at_once:
            if not self._open:
                whole = {r: self._best(r) for r in range(len(self._rows))}
                self._responder.write(self._encoder.whole(whole), final=True)
        elif piece.finish is not None:
            self._write_apart(row, answer)

    def _write_apart(self, row: int, ended: SequenceAnswer) -> None:
        """Writes whole answers of a row that are due now that one of its sequences has ended.

        Beams are one response, as stock has them; what is ranked waits for the row's last sequence.
        """
        plan = self._rows[row]
        if not plan.ranked:
            due = [[ended]]
        elif any(self._indexes[index][0] == row for index in self._open):
            due = []
        else:
            best = self._best(row)
            due = [best] if plan.sequences[0].sampling.beam_width > 1 else [[answer] for answer in best]
        for number, answers in enumerate(due, 1):
            final = number == len(due) and not self._open
            self._responder.write(self._encoder.whole({row: answers}), final=final)

    def _best(self, row: int) -> list[SequenceAnswer]:
        """In order of their sequence; where more were generated than are kept, the likeliest ones, likeliest first."""
        ranked, keep = sorted(self._answers[row], key=lambda a: a.sequence), self._rows[row].keep
        if len(ranked) > keep:
            ranked = sorted(ranked, key=lambda a: -a.cum_log_prob)[:keep]
            for place, answer in enumerate(ranked):
                answer.sequence = place
        return ranked


class Responder(Protocol):
    """Sends the responses of one request. Used by its sender's thread, but for `gone`."""

    request_id: str

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Builds one response of those arrays that the client asked for; the last one is `final`."""

    def flush(self) -> None:
        """Sends the responses that were written."""

    def fail(self, error: Exception) -> None:
        """Sends the responses that were written and ends the request with an error."""

    def gone(self) -> bool:
        """Whether the client has disconnected. May be a round trip to the server; any thread may ask."""
