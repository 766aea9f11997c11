"""Encodes a response as the events of /v1/responses, numbered from 0; each carries its type as the event's name too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import FinishReason

from ..errors import ApiError
from .blocks import Block, BlockStep
from .chunks import COMMENT, DONE
from .response_object import ResponseObject, item_status, part
from .usage import UsageCount

_CONTENT = {"reasoning": "reasoning_text", "text": "output_text", "call": "function_call_arguments"}
"""{kind of a block: what its deltas are named after}."""


class ResponseWriter:
    """A `Writer`. The events of an answer, put together as OpenAI's package does, are the response of the whole answer."""

    keep_alive = COMMENT

    def __init__(self, response: ResponseObject, usage: UsageCount) -> None:
        self._response = response
        self._usage = usage
        self._number = 0
        self._finish: FinishReason = "stop"
        self._delta = b""
        """The beginning of a delta of the open block, up to its text."""

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        out = [] if self._number else [self._begin()]
        for piece in pieces:
            self._usage.add(piece)
            if piece.finish:
                self._finish = piece.finish
            out += [self._step(step) for step in self._response.reader.feed(piece)]
        return b"".join(out)

    def end(self) -> bytes:
        """The event with the whole response, and the end mark."""
        begun = b"" if self._number else self._begin()
        kind = "completed" if self._finish == "stop" else "incomplete"
        return begun + self._event(f"response.{kind}", response=self._response.ended(self._finish)) + DONE

    def fail(self, error: ApiError) -> bytes:
        """The event of a response that failed, and the end mark."""
        begun = b"" if self._number else self._begin()
        return begun + self._event("response.failed", response=self._response.failed(error)) + DONE

    def _begin(self) -> bytes:
        response = self._response.in_progress()
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _step(self, step: BlockStep) -> bytes:
        if step.step == "add":
            number, self._number = self._number, self._number + 1
            return self._delta + orjson.dumps(step.text) + b',"sequence_number":%d}\n\n' % number
        return self._open(step.block) if step.step == "open" else self._close(step.block)

    def _open(self, block: Block) -> bytes:
        kind = f"response.{_CONTENT[block.kind]}.delta"
        head: dict[str, Any] = {"type": kind, **self._place(block)}
        if block.kind == "text":
            head["logprobs"] = []
        self._delta = f"event: {kind}\ndata: ".encode() + orjson.dumps(head)[:-1] + b',"delta":'
        item = self._response.item(block, "in_progress")
        added = self._event("response.output_item.added", output_index=block.index, item=item)
        if block.kind == "call":
            return added
        return added + self._event("response.content_part.added", **self._place(block), part=part(block, ""))

    def _close(self, block: Block) -> bytes:
        text, place = block.text, self._place(block)
        done = f"response.{_CONTENT[block.kind]}.done"
        if block.kind == "call":
            closed = self._event(done, **place, **self._response.name_of(block), arguments=text)
        else:
            logprobs: dict[str, Any] = {"logprobs": []} if block.kind == "text" else {}
            closed = self._event(done, **place, text=text, **logprobs)
            closed += self._event("response.content_part.done", **place, part=part(block, text))
        item = self._response.item(block, item_status(block, self._finish))
        return closed + self._event("response.output_item.done", output_index=block.index, item=item)

    def _place(self, block: Block) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self._response.item_id(block), "output_index": block.index}
        return place if block.kind == "call" else {**place, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        data = orjson.dumps({"type": kind, **fields, "sequence_number": number})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
