"""Reads prompts of a file: ShareGPT-like JSON, a list of objects or strings, JSON lines, or text with a prompt a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError

_HUMAN = ("human", "user")
_FORMS = (
    '[{"conversations": [{"from": "human", "value": …}, …]}], [{"input" or "prompt": …, "output": …}], or lines of text'
)


@dataclass(frozen=True)
class Entry:
    """One prompt and, where the file has it, the answer, whose length the benchmark then asks for.

    `of_stock`: the file has the form of stock's benchmark (input, instruction, output), which counts an answer in words.
    """

    prompt: str
    answer: str | None
    of_stock: bool = False


def read_dataset(file: Path) -> list[Entry]:
    """The entries of a file, without empty prompts. Raises ConfigurationError naming the entry that has no prompt."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--dataset {file}: cannot be read: {error}") from None
    entries = [_entry(value, f"--dataset {file}, entry {n}") for n, value in enumerate(_values(text, file), 1)]
    found = [e for e in entries if e.prompt.strip()]
    if not found:
        raise ConfigurationError(f"--dataset {file}: holds no prompts; expected {_FORMS}")
    return found


def _values(text: str, file: Path) -> list[Any]:
    """Lines end with LF alone here: reading has made it of CR and CRLF, and U+2028 and its like may stand in a prompt."""
    if file.suffix == ".txt":
        return [line for line in text.split("\n") if line.strip()]
    try:
        if file.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--dataset {file}: is not JSON ({error}); text needs the ending .txt") from None
    if not isinstance(values, list):
        raise ConfigurationError(f"--dataset {file}: expected {_FORMS}")
    return values


def _entry(value: Any, location: str) -> Entry:
    if isinstance(value, str):
        return Entry(value, None)
    if isinstance(value, dict):
        if isinstance(value.get("conversations"), list):
            return _sharegpt(value["conversations"], location)
        prompt = next((value[k] for k in ("prompt", "input", "text") if isinstance(value.get(k), str)), None)
        if prompt is not None:
            answer = value["output"] if isinstance(value.get("output"), str) else None
            instruction = value.get("instruction")
            if isinstance(instruction, str) and isinstance(value.get("input"), str):
                return Entry(f"{value['input']} {instruction}", answer, of_stock=True)
            return Entry(prompt, answer)
    raise ConfigurationError(f"{location}: has no prompt; expected {_FORMS}")


def _sharegpt(turns: list[Any], location: str) -> Entry:
    """The first turn of a user and the answer to it."""
    try:
        spoken = [(str(t["from"]), str(t["value"])) for t in turns]
    except (TypeError, KeyError):
        raise ConfigurationError(f'{location}: turns need "from" and "value"') from None
    first = next((n for n, (who, _) in enumerate(spoken) if who in _HUMAN), None)
    if first is None:
        return Entry("", None)
    answer = spoken[first + 1][1] if first + 1 < len(spoken) and spoken[first + 1][0] not in _HUMAN else None
    return Entry(spoken[first][1], answer)
