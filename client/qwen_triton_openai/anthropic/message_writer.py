"""Encodes a message as the server-sent events of this API, each with its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece

from ..answers.chat_message import ChatChoice
from ..answers.usage import UsageCount
from .message import BlockDelta, BlockEvent, BlockStart, ContentBlocks, stop_of, usage_of

_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
)


def named_event(value: dict[str, Any]) -> bytes:
    """A server-sent event that bears the name of its value's type."""
    return b"event: " + value["type"].encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


PING = named_event({"type": "ping"})


class MessageWriter:
    """Encodes pieces of one sequence. The first ones begin with the message and its prompt's counts."""

    def __init__(self, head: dict[str, Any], choice: ChatChoice, usage: UsageCount, blocks: ContentBlocks) -> None:
        self._head = head
        self._choice = choice
        self._usage = usage
        self._blocks = blocks
        self._begun = False
        self._last = TextPiece("")

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        out: list[bytes] = []
        for piece in pieces:
            if piece.usage is not None:
                self._usage.add(piece)
            if not self._begun:
                self._begun = True
                out += [self._start(), PING]
            out += map(_encode, self._blocks.feed(self._choice.feed(piece)))
            self._last = piece
        return b"".join(out)

    def end(self) -> bytes:
        """The end of the open block, the reason, the counts and the end mark."""
        begin = [] if self._begun else [self._start(), PING]
        stop = stop_of(self._last, self._choice, self._blocks)
        delta = {"type": "message_delta", "delta": stop, "usage": usage_of(self._usage)}
        ends = map(_encode, self._blocks.end())
        return b"".join([*begin, *ends, named_event(delta), named_event({"type": "message_stop"})])

    def _start(self) -> bytes:
        nothing = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage_of(self._usage)}
        return named_event({"type": "message_start", "message": {**self._head, **nothing}})


def _encode(event: BlockEvent) -> bytes:
    if isinstance(event, BlockDelta):
        return _DELTA % (event.index, event.kind.encode(), event.key.encode(), orjson.dumps(event.text))
    if isinstance(event, BlockStart):
        return named_event({"type": "content_block_start", "index": event.index, "content_block": event.block})
    return named_event({"type": "content_block_stop", "index": event.index})
