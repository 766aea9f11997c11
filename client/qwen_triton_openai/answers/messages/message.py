"""The content of a message: the blocks of an answer as this API has them, in a whole answer and in a stream."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece

from ..blocks import Block, BlockReader, BlockStep
from ..chat_message import ChatChoice
from ..usage import UsageCount
from .tool_input import ToolInput

SIGNATURE = "unsigned"
"""Of every thinking block: clients want one and send it back. There is nothing here that it would protect."""
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


class MessageContent:
    """Reads the pieces of an answer. `show_thinking` false: the text of thinking blocks is empty."""

    def __init__(self, choice: ChatChoice, *, show_thinking: bool = True) -> None:
        self.show_thinking = show_thinking
        self._reader = BlockReader(choice)
        self._inputs: dict[int, ToolInput] = {}
        self._last = TextPiece("")

    def feed(self, piece: TextPiece) -> list[BlockStep]:
        """The steps of a piece, of the inputs of tools only what is certain to be JSON, and of hidden thinking no text."""
        self._last = piece
        steps = self._reader.feed(piece)
        if not any(step.step == "add" and step.block.kind != "text" for step in steps):  # the usual case
            return steps
        return [found for step in steps if (found := self._checked(step)) is not None]

    def _checked(self, step: BlockStep) -> BlockStep | None:
        if step.step != "add" or step.block.kind == "text":
            return step
        if step.block.kind == "reasoning":
            return step if self.show_thinking else None
        text = self._inputs.setdefault(step.block.index, ToolInput()).feed(step.text)
        return step._replace(text=text) if text else None

    def blocks(self) -> list[dict[str, Any]]:
        """All blocks, after the last piece. Inputs are as the model wrote them, with numbers of any size."""
        return [self._block(block) for block in self._reader.blocks]

    def stop(self) -> dict[str, Any]:
        """Why the answer ended, after the last piece; `tool_use` only if every call in it can be executed."""
        finish = self._reader.finish_reason(self._last.finish or "stop")
        if finish == "tool_calls" and not all(read.intact for read in self._inputs.values()):
            finish = "stop"
        if finish in _STOP_REASONS:
            return {"stop_reason": _STOP_REASONS[finish], "stop_sequence": None}
        if isinstance(self._last.stop_reason, str):
            return {"stop_reason": "stop_sequence", "stop_sequence": self._last.stop_reason}
        return {"stop_reason": "end_turn", "stop_sequence": None}

    def _block(self, block: Block) -> dict[str, Any]:
        found = empty_block(block)
        if block.kind == "call":
            found["input"] = orjson.Fragment(self._inputs[block.index].json if block.index in self._inputs else "{}")
        elif block.kind == "text":
            found["text"] = block.text
        else:
            found |= {"thinking": block.text if self.show_thinking else "", "signature": SIGNATURE}
        return found


def empty_block(block: Block) -> dict[str, Any]:
    """A block as it begins."""
    if block.kind == "call":
        return {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}", "name": block.name, "input": {}}
    return (
        {"type": "text", "text": ""} if block.kind == "text" else {"type": "thinking", "thinking": "", "signature": ""}
    )


def whole_message(
    head: dict[str, Any], pieces: Sequence[TextPiece], content: MessageContent, usage: UsageCount
) -> dict[str, Any]:
    """The whole answer, made of the blocks that a stream of the same pieces would send."""
    for piece in pieces:
        usage.add(piece)
        content.feed(piece)
    return {**head, "content": content.blocks(), **content.stop(), "usage": usage_of(usage)}


def usage_of(usage: UsageCount) -> dict[str, Any]:
    """This API's token counts: `input_tokens` are those of the prompt that were in no cache."""
    thinking = usage.reasoning_tokens
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        **({} if thinking is None else {"output_tokens_details": {"thinking_tokens": thinking}}),
    }


def message_head(model: str) -> dict[str, Any]:
    """The fields that a message has from its beginning on."""
    return {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}
