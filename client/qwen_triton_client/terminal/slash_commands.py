"""Commands of a chat: the lines that begin with «/»."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_triton.errors import InvalidRequest

from .conversation import Conversation, Message, read_tools
from .flags import set_parameter


class EndOfChat(Exception):
    """/exit."""


@dataclass
class ChatState:
    """The state that commands may change. `again`: a question to ask next, as if it had been typed."""

    conversation: Conversation
    parameters: dict[str, Any] = field(default_factory=dict)
    tools: list[Message] = field(default_factory=list)
    again: str = ""


def run_command(state: ChatState, line: str) -> str:
    """Runs the command in `line` and returns its message. Raises InvalidRequest for a wrong one, EndOfChat for /exit."""
    name, _, rest = line[1:].partition(" ")
    if name not in COMMANDS:
        raise InvalidRequest("no such command; /help lists them", f"/{name}")
    return COMMANDS[name][1](state, rest.strip())


def _help(_state: ChatState, _rest: str) -> str:
    return "\n".join(f"{usage:<24}{does}" for usage, (does, _) in zip(_USAGES, COMMANDS.values(), strict=True))


def _clear(state: ChatState, _rest: str) -> str:
    state.conversation.clear()
    return "forgot everything but the system prompt"


def _system(state: ChatState, rest: str) -> str:
    if not rest:
        return state.conversation.system or "no system prompt; /system TEXT sets one, /system none takes it away"
    state.conversation.system = "" if rest == "none" else rest
    return "system prompt set" if rest != "none" else "no system prompt"


def _set(state: ChatState, rest: str) -> str:
    if rest:
        name, _, value = rest.replace("=", " ", 1).partition(" ")
        if not value.strip():
            raise InvalidRequest("write /set NAME VALUE; VALUE none takes it away", name)
        set_parameter(state.parameters, name, value.strip())
    return ", ".join(f"{k}={v}" for k, v in state.parameters.items()) or "no parameters set: the server's defaults"


def _think(state: ChatState, rest: str) -> str:
    if rest not in ("on", "off"):
        raise InvalidRequest("write /think on or /think off", "/think")
    options = dict(state.parameters.get("chat_template_kwargs", {}))
    state.parameters["chat_template_kwargs"] = options | {"enable_thinking": rest == "on"}
    return f"thinking {rest}, where the model's chat template knows it"


def _tools(state: ChatState, rest: str) -> str:
    state.tools = [] if rest in ("", "none") else read_tools(Path(rest))
    return f"{len(state.tools)} tools"


def _retry(state: ChatState, _rest: str) -> str:
    state.again = state.conversation.take_back()
    return "" if state.again else "nothing to ask again"


def _undo(state: ChatState, _rest: str) -> str:
    question = state.conversation.take_back()
    return f"took back: {question}" if question else "nothing to take back"


def _save(state: ChatState, rest: str) -> str:
    state.conversation.save(Path(rest or "chat.json"))
    return f"saved {len(state.conversation.messages)} messages to {rest or 'chat.json'}"


def _load(state: ChatState, rest: str) -> str:
    state.conversation.load(Path(rest or "chat.json"))
    return f"{len(state.conversation.messages)} messages"


def _exit(_state: ChatState, _rest: str) -> str:
    raise EndOfChat


COMMANDS: dict[str, tuple[str, Callable[[ChatState, str], str]]] = {
    "help": ("this list", _help),
    "clear": ("forget the conversation", _clear),
    "system": ("show or set the system prompt", _system),
    "set": ("show or set parameters of the answers", _set),
    "think": ("let the model think, or not", _think),
    "tools": ("tools the model may call, from a JSON file", _tools),
    "retry": ("ask the last question again", _retry),
    "undo": ("take back the last question and its answer", _undo),
    "save": ("write the conversation as JSON", _save),
    "load": ("go on with a saved one", _load),
    "exit": ("leave, as Ctrl-D does", _exit),
}
_USAGES = (
    "/help", "/clear", "/system [TEXT]", "/set [NAME VALUE]", "/think on|off", "/tools FILE", "/retry", "/undo",
    "/save [FILE]", "/load [FILE]", "/exit",
)  # fmt: skip
