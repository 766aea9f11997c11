"""The history of a chat: its system prompt and turns, in memory and in JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen_triton.chat.messages import check_messages, check_tools
from qwen_triton.errors import InvalidRequest

Message = Mapping[str, Any]


class Conversation:
    """Messages in order; the system prompt stands apart, so that it can be changed."""

    def __init__(self, system: str = "") -> None:
        self.system = system
        self.turns: list[Message] = []

    @property
    def messages(self) -> list[Message]:
        return [{"role": "system", "content": self.system}, *self.turns] if self.system else list(self.turns)

    def add_user(self, text: str) -> None:
        self.turns.append({"role": "user", "content": text})

    def add_tool_result(self, name: str, text: str) -> None:
        self.turns.append({"role": "tool", "name": name, "content": text})

    def add_answer(self, message: Message) -> None:
        self.turns.append(message)

    def clear(self) -> None:
        self.turns.clear()

    def take_back(self) -> str:
        """Forgets the last question and all behind it, and returns it; '' when there is none."""
        while self.turns:
            turn = self.turns.pop()
            if turn["role"] == "user":
                return str(turn["content"])
        return ""

    def save(self, file: Path) -> None:
        """Writes the messages as a JSON list. Raises InvalidRequest for a file that cannot be written."""
        try:
            file.write_text(json.dumps(self.messages, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"cannot be written: {error.strerror}", str(file)) from None

    def load(self, file: Path) -> None:
        """Replaces the history. Raises InvalidRequest for what is no list of messages."""
        messages = check_messages(read_json_file(file))
        self.system = ""
        if messages and messages[0]["role"] == "system":
            self.system = str(messages.pop(0)["content"])
        self.turns = list(messages)


def read_tools(file: Path) -> list[Message]:
    """Tool definitions as OpenAI writes them: a list, or one alone. Raises InvalidRequest for anything else."""
    tools = read_json_file(file)
    return list(check_tools(tools if isinstance(tools, list) else [tools]))


def read_json_file(file: Path) -> Any:
    """The value in a JSON file. Raises InvalidRequest, with the file's name, where it cannot be read or is not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"cannot be read: {error.strerror}", str(file)) from None
    except ValueError as error:
        raise InvalidRequest(f"is not JSON: {error}", str(file)) from None
