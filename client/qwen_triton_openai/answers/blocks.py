"""The answer to one request as blocks in their order: thinking, text and tool calls, each opened, filled and closed.

The APIs whose answers are lists of such blocks, streamed by block, are written from here, whole and streamed: a whole
answer is the blocks that its stream closes. Knows no API.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.chat.tool_formats.json_scanner import JsonScanner
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import FinishReason

from .chat_message import ChatChoice

Kind = Literal["reasoning", "text", "call"]


class Block:
    """One block. `index`: its place in the answer; `name`: the function's, of a call.

    `text` is all of it so far, of a call its arguments. `complete`: it was closed, and not because the answer was cut; a
    call is complete when its arguments are a whole JSON object.
    """

    __slots__ = ("_parts", "complete", "index", "kind", "name")

    def __init__(self, kind: Kind, index: int, name: str = "") -> None:
        self.kind = kind
        self.index = index
        self.name = name
        self.complete = False
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, text: str) -> None:
        self._parts.append(text)


class BlockStep(NamedTuple):
    """What happens to a block: `open`, `add` with the text that is added, `close`."""

    step: Literal["open", "add", "close"]
    block: Block
    text: str = ""


class BlockReader:
    """Groups the deltas of an answer's only choice into blocks. `blocks` are all that have been opened so far.

    `always_text`: an answer that ends by itself and is neither text nor a call has a block of empty text at its end.
    """

    def __init__(self, choice: ChatChoice, *, always_text: bool = False) -> None:
        self._choice = choice
        self._always_text = always_text
        self._open: Block | None = None
        self.blocks: list[Block] = []

    def feed(self, piece: TextPiece) -> list[BlockStep]:
        """The steps of a piece; with the last piece of the answer every block is closed. Hot."""
        steps: list[BlockStep] = []
        for delta in self._choice.feed(piece):
            self._add(delta, steps)
        if piece.finish:
            if self._always_text and piece.finish == "stop" and not self._choice.answered:
                self._begin("text", steps)
            self._close(steps, cut=piece.finish != "stop")
        return steps

    def finish_reason(self, finish: FinishReason) -> str:
        """`stop`, `length` or `tool_calls`, after the last piece."""
        return self._choice.finish_reason(finish)

    def _add(self, delta: Delta, steps: list[BlockStep]) -> None:
        if isinstance(delta, ToolCallStart):
            self._begin("call", steps, delta.name)
            return
        kind: Kind = "text" if isinstance(delta, Content) else "reasoning" if isinstance(delta, Reasoning) else "call"
        block = self._open
        if block is None or block.kind != kind:
            assert not isinstance(delta, ToolCallArguments), "arguments follow the start of their call"
            block = self._begin(kind, steps)
        if delta.text:
            block.add(delta.text)
            steps.append(BlockStep("add", block, delta.text))

    def _begin(self, kind: Kind, steps: list[BlockStep], name: str = "") -> Block:
        self._close(steps)
        block = self._open = Block(kind, len(self.blocks), name)
        self.blocks.append(block)
        steps.append(BlockStep("open", block))
        return block

    def _close(self, steps: list[BlockStep], *, cut: bool = False) -> None:
        """Closes the open block, if any."""
        block, self._open = self._open, None
        if block is None:
            return
        block.complete = _is_object(block.text) if block.kind == "call" else not cut
        steps.append(BlockStep("close", block))


def _is_object(arguments: str) -> bool:
    """Whether the arguments of a call are a whole JSON object."""
    scanner = JsonScanner()
    end = scanner.feed(arguments)[1]
    return scanner.complete and end == len(arguments)
