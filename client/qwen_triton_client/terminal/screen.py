"""Shows a chat answer on a terminal: thinking dimmed, content plain, each tool call on its own line."""

from __future__ import annotations

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart

from .output import Terminal


class ChatScreen:
    """Shows the deltas of one answer. `thinking` False: a note that it thinks instead of what."""

    def __init__(self, out: Terminal, thinking: bool = True) -> None:
        self._out = out
        self._thinking = thinking
        self._last: type[Delta] | None = None

    def show(self, delta: Delta) -> None:
        self._turn_to(type(delta))
        match delta:
            case Reasoning(text) if self._thinking:
                self._out.write(text, "dim")
            case Content(text):
                self._out.write(text)
            case ToolCallStart(_, name):
                self._out.write(f"→ {name} ", "call")
            case ToolCallArguments(_, text):
                self._out.write(text, "call")

    def end(self) -> None:
        if self._last is not None:
            self._out.line()

    def _turn_to(self, kind: type[Delta]) -> None:
        """Line ends between parts of different kinds, and the note instead of hidden thinking."""
        part = ToolCallStart if kind is ToolCallArguments else kind
        if self._last is not None and (part is not self._last or kind is ToolCallStart):
            self._out.line("\n" if self._last is Reasoning and self._thinking else "")
        if part is Reasoning and self._last is not Reasoning and not self._thinking:
            self._out.write("thinking…", "dim")
        self._last = part
