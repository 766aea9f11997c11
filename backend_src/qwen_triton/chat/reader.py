"""Reads a chat answer as reasoning, content and tool calls: the one path of whole and streamed answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ..types import FinishReason, GenerateRequest
from .deltas import Content, Delta
from .reasoning import ReasoningParser
from .tool_calls import ToolCallParser
from .tool_choice import forced_beginning, format_of_forced
from .tool_formats.formats import format_named
from .tool_formats.tool_format import ToolFormat

if TYPE_CHECKING:  # readers of answers need no tokenizer, and not all of them have its library
    from ..text.tokenizer import Tokenizer


def opens_thinking(prompt_ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether the last turn of a chat prompt has an open <think> block, so that the answer begins within it."""
    opening = tokenizer.encode("<think>")
    if len(opening) != 1:
        return False
    deciding = {opening[0], *tokenizer.encode("</think>"), tokenizer.special_tokens.get("<|im_start|>")}
    last = next((token for token in reversed(prompt_ids) if token in deciding), None)
    return last == opening[0]


def reader_of(request: GenerateRequest, thinking_opened: bool, tool_format: str) -> ChatReader:
    """A reader of one answer to a chat request.

    `thinking_opened`: see `opens_thinking`. `tool_format`: the name of the format of its calls, "" if it is not known.
    """
    tools, choice = request.tools, request.tool_choice
    if not tools or choice.mode == "none":
        return ChatReader(thinking_opened, begun=request.answer_prefix)
    known = format_of_forced(choice, tools, format_named(tool_format).for_tools(tools))
    begun = forced_beginning(choice, tools, known) or request.answer_prefix
    return ChatReader(thinking_opened, known, single=not request.parallel_tool_calls, begun=begun)


class ChatReader:
    """Turns text pieces into deltas, which do not depend on how the text is cut.

    `thinking_opened`: see `opens_thinking`. `tools`: the format of the tool calls to parse, None for none. `single`: the
    answer is `over` when its first call is closed. `begun`: text that the prompt already ends with and the answer
    continues, such as the beginning of a call; it is never content.
    """

    __slots__ = ("_calls", "_reasoning")

    def __init__(
        self,
        thinking_opened: bool = False,
        tools: ToolFormat | None = None,
        *,
        single: bool = False,
        begun: str = "",
    ) -> None:
        begun = "" if thinking_opened else begun
        self._calls = ToolCallParser(tools, single=single, begun=begun) if tools else None
        self._reasoning = None if begun else ReasoningParser(thinking_opened, tools)

    @property
    def over(self) -> bool:
        """Whether all that follows is left out."""
        return self._calls is not None and self._calls.over

    def feed(self, text: str) -> list[Delta]:
        """The deltas that are certain with this text."""
        if self._reasoning is None:
            return self._calls.feed(text) if self._calls is not None else [Content(text)] if text else []
        deltas = self._read(self._reasoning.feed(text))
        if self._reasoning.in_content:
            self._reasoning = None
        return deltas

    def end(self, finish: FinishReason | None) -> list[Delta]:
        """The deltas that were held back, at the end of the answer."""
        deltas = self._read(self._reasoning.flush(cut=finish != "stop")) if self._reasoning else []
        return deltas + self._calls.flush(cut=finish != "stop") if self._calls else deltas

    def finish_reason(self, finish: FinishReason) -> FinishReason | Literal["tool_calls"]:
        """OpenAI's finish reason, after `end`: `tool_calls` if the answer ended by itself and all its calls are complete."""
        called = self._calls is not None and 0 < self._calls.calls == self._calls.complete
        return "tool_calls" if finish == "stop" and called else finish

    def _read(self, deltas: list[Delta]) -> list[Delta]:
        if self._calls is None:
            return deltas
        out: list[Delta] = []
        for delta in deltas:
            out += self._calls.feed(delta.text) if isinstance(delta, Content) else [delta]
        return out
