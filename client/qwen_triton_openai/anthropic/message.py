"""The content of a message: the deltas of an answer as content blocks, for a whole answer and for a stream.

A block is text, thinking or a tool_use; a delta of another kind, or of another call, ends the block before it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.tensors.text_outputs import TextPiece

from ..answers.chat_message import ChatChoice
from ..answers.usage import UsageCount
from .tool_input import ToolInput

SIGNATURE = "unsigned"
"""Of every thinking block: clients want one and send it back. There is nothing here that it would protect."""
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


@dataclass(frozen=True, slots=True)
class BlockStart:
    """A block begins; `block` is what its start event has: no text, no input."""

    index: int
    block: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BlockDelta:
    """More of the open block: `key` is the field of the delta that has `text`."""

    index: int
    kind: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class BlockStop:
    """The open block ends."""

    index: int


BlockEvent = BlockStart | BlockDelta | BlockStop


class ContentBlocks:
    """Turns the deltas of one answer into events of its blocks. `intact`: no input of a tool is cut or malformed.

    `show_thinking` false: thinking blocks are empty.
    """

    def __init__(self, *, show_thinking: bool = True) -> None:
        self._show_thinking = show_thinking
        self._index = -1
        self._open: type[Delta] | None = None
        self._input: ToolInput | None = None
        self.intact = True

    def feed(self, deltas: Iterable[Delta]) -> list[BlockEvent]:
        """The events of these deltas."""
        out: list[BlockEvent] = []
        for delta in deltas:
            self._add(delta, out)
        return out

    def end(self) -> list[BlockEvent]:
        """The end of the block that is open, if one is."""
        out: list[BlockEvent] = []
        self._close(out)
        return out

    def _add(self, delta: Delta, out: list[BlockEvent]) -> None:
        if isinstance(delta, ToolCallStart):
            self._close(out)
            self._input = ToolInput()
            self._start({"type": "tool_use", "id": new_tool_use_id(), "name": delta.name, "input": {}}, delta, out)
        elif isinstance(delta, ToolCallArguments):
            assert self._input is not None, "arguments follow the start of their call"
            if text := self._input.feed(delta.text):
                out.append(BlockDelta(self._index, "input_json_delta", "partial_json", text))
        elif delta.text:
            if self._open is not type(delta):
                self._close(out)
                thinking = isinstance(delta, Reasoning)
                empty = {"type": "thinking", "thinking": "", "signature": ""} if thinking else {"type": "text", "text": ""}
                self._start(empty, delta, out)
            if isinstance(delta, Content):
                out.append(BlockDelta(self._index, "text_delta", "text", delta.text))
            elif self._show_thinking:
                out.append(BlockDelta(self._index, "thinking_delta", "thinking", delta.text))

    def _start(self, block: dict[str, Any], delta: Delta, out: list[BlockEvent]) -> None:
        self._index += 1
        self._open = type(delta)
        out.append(BlockStart(self._index, block))

    def _close(self, out: list[BlockEvent]) -> None:
        if self._open is None:
            return
        if self._open is Reasoning:
            out.append(BlockDelta(self._index, "signature_delta", "signature", SIGNATURE))
        if self._input is not None:
            self.intact = self.intact and self._input.intact
            self._input = None
        self._open = None
        out.append(BlockStop(self._index))


def whole_message(
    head: dict[str, Any], pieces: Sequence[TextPiece], choice: ChatChoice, usage: UsageCount, blocks: ContentBlocks
) -> dict[str, Any]:
    """The whole answer, made of the events that a stream of the same pieces would send."""
    events: list[BlockEvent] = []
    for piece in pieces:
        usage.add(piece)
        events += blocks.feed(choice.feed(piece))
    events += blocks.end()
    return {**head, "content": _content(events), **stop_of(pieces[-1], choice, blocks), "usage": usage_of(usage)}


def stop_of(last: TextPiece, choice: ChatChoice, blocks: ContentBlocks) -> dict[str, Any]:
    """Why the answer ended; `tool_use` only if every call in it can be executed."""
    finish = choice.finish_reason(last.finish or "stop")
    if finish == "tool_calls" and not blocks.intact:
        finish = "stop"
    if finish in _STOP_REASONS:
        return {"stop_reason": _STOP_REASONS[finish], "stop_sequence": None}
    if isinstance(last.stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": last.stop_reason}
    return {"stop_reason": "end_turn", "stop_sequence": None}


def usage_of(usage: UsageCount) -> dict[str, Any]:
    """This API's token counts: `input_tokens` are those of the prompt that were in no cache."""
    counts = usage.as_json()
    cached = counts["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": counts["prompt_tokens"] - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": counts["completion_tokens"],
    }


def message_head(model: str) -> dict[str, Any]:
    """The fields that a message has from its beginning on."""
    return {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}


def new_tool_use_id() -> str:
    return f"toolu_{secrets.token_hex(12)}"


def _content(events: Sequence[BlockEvent]) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    inputs: dict[int, ToolInput] = {}
    for event in events:
        if isinstance(event, BlockStart):
            content.append(dict(event.block))
        elif isinstance(event, BlockDelta) and event.key == "partial_json":
            inputs.setdefault(event.index, ToolInput()).feed(event.text)
        elif isinstance(event, BlockDelta):
            content[event.index][event.key] += event.text
    for index, read in inputs.items():
        content[index]["input"] = orjson.Fragment(read.json)  # as the model wrote it: of any size of number
    return content
