"""Encodes a message as the server-sent events of this API, each with its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece

from ...errors import ApiError
from ..blocks import BlockStep
from ..usage import UsageCount
from .message import SIGNATURE, MessageContent, empty_block, usage_of

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{%b%b}}\n\n'
_DELTAS = {
    "text": b'"type":"text_delta","text":',
    "reasoning": b'"type":"thinking_delta","thinking":',
    "call": b'"type":"input_json_delta","partial_json":',
}
_SIGNATURE = b'"type":"signature_delta","signature":'


def named_event(value: dict[str, Any]) -> bytes:
    """A server-sent event with the name of its value's type."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


PING = named_event({"type": "ping"})


class MessageWriter:
    """Encodes pieces of one sequence. The first ones begin the message, with its prompt's counts if they have them.

    `request_id`: shown in the event of an error, as in the body of one.
    """

    keep_alive = PING

    def __init__(self, head: dict[str, Any], content: MessageContent, usage: UsageCount, request_id: str) -> None:
        self._head = head
        self._content = content
        self._usage = usage
        self._request_id = request_id
        self._begun = False

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        out: list[bytes] = []
        for piece in pieces:
            if piece.usage is not None:
                self._usage.add(piece)
            if not self._begun:
                out.append(self._begin())
            out += map(_encode, self._content.feed(piece))
        return b"".join(out)

    def end(self) -> bytes:
        """The reason, the counts and the end mark."""
        begun = b"" if self._begun else self._begin()
        delta = {"type": "message_delta", "delta": self._content.stop(), "usage": usage_of(self._usage)}
        return begun + named_event(delta) + named_event({"type": "message_stop"})

    def fail(self, error: ApiError) -> bytes:
        """The last event of a stream that failed."""
        return named_event(error.messages_body(self._request_id))

    def _begin(self) -> bytes:
        self._begun = True
        nothing: dict[str, Any] = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }
        return named_event({"type": "message_start", "message": {**self._head, **nothing}}) + PING


def _encode(step: BlockStep) -> bytes:
    """Hot."""
    block = step.block
    if step.step == "add":
        return _DELTA % (block.index, _DELTAS[block.kind], orjson.dumps(step.text))
    if step.step == "open":
        return named_event({"type": "content_block_start", "index": block.index, "content_block": empty_block(block)})
    signature = _DELTA % (block.index, _SIGNATURE, orjson.dumps(SIGNATURE)) if block.kind == "reasoning" else b""
    return signature + named_event({"type": "content_block_stop", "index": block.index})
