"""What the models read from the `parameters` of their config.pbtxt: strings, of which some may be left unfilled.

An unfilled placeholder («${name}») or an empty string means «not set», as stock's models take it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from .errors import ConfigurationError
from .types import PromptFormat

Door = Literal["own", "grpc", "exec"]
"""How the BLS reaches an engine."""

_TRUE = {"true", "1", "t", "y", "yes"}
_FALSE = {"false", "0", "f", "n", "no"}


@dataclass(frozen=True)
class Parameters:
    """A model's parameters with their types; errors name the model, the key and what is expected."""

    model: str
    values: Mapping[str, str]

    def text(self, key: str) -> str | None:
        value = self.values.get(key, "").strip()
        return None if not value or re.fullmatch(r"\$\{\w*\}", value) else value

    def flag(self, key: str, default: bool) -> bool:
        value = self.text(key)
        if value is None:
            return default
        if value.lower() not in _TRUE | _FALSE:
            raise self._error(key, f"expected true or false, got {value!r}")
        return value.lower() in _TRUE

    def number(self, key: str) -> int | None:
        value = self.text(key)
        if value is None:
            return None
        if not re.fullmatch(r"\d+", value):
            raise self._error(key, f"expected a whole number, got {value!r}")
        return int(value)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(key) or default
        if value not in choices:
            raise self._error(key, f"expected {' or '.join(choices)}, got {value!r}")
        return value

    def json_object(self, key: str) -> dict[str, Any] | None:
        value = self.text(key)
        if value is None:
            return None
        try:
            return dict(json.loads(value))
        except (ValueError, TypeError):
            raise self._error(key, "expected a JSON object") from None

    def _error(self, key: str, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self.model}/config.pbtxt: parameter {key}: {reason}")


@dataclass(frozen=True)
class TextSettings:
    """Settings of the models that read or write text."""

    tokenizer_dir: Path
    prompt_format: PromptFormat
    max_context: int | None
    skip_special_tokens: bool

    @classmethod
    def read(cls, parameters: Parameters, repository: Path) -> TextSettings:
        folder = parameters.text("tokenizer_dir") or sibling_parameter(repository, "preprocessing", "tokenizer_dir")
        if folder is None:
            raise ConfigurationError(f"{parameters.model}/config.pbtxt: tokenizer_dir is not filled; give a folder")
        return cls(
            Path(folder),
            cast(PromptFormat, parameters.choice("prompt_format", ("raw", "chat"), "raw")),
            parameters.number("max_context"),
            parameters.flag("skip_special_tokens", True),
        )


@dataclass(frozen=True)
class BlsSettings:
    """Settings of the BLS. `door`: the engine's own process; for a backend that is not ours the server's gRPC or `exec`."""

    engine_model: str
    door: Door
    accumulate: bool
    echo: bool
    max_in_flight: int
    queue_timeout_ms: int

    @classmethod
    def read(cls, parameters: Parameters, repository: Path) -> BlsSettings:
        engine_model = parameters.text("tensorrt_llm_model_name") or "tensorrt_llm"
        theirs = sibling_backend(repository, engine_model) not in ("python", None)
        door = parameters.choice("engine_door", ("own", "grpc", "exec"), "grpc" if theirs else "own")
        for key in ("tensorrt_llm_draft_model_name", "multimodal_encoders_name"):
            if parameters.text(key):
                raise parameters._error(key, "is not supported; leave it unfilled")
        return cls(
            engine_model,
            cast(Door, door),
            parameters.flag("accumulate_tokens", False),
            not parameters.flag("exclude_input_in_output", True),
            parameters.number("max_in_flight") or 0,
            parameters.number("queue_timeout_ms") or 0,
        )


@dataclass(frozen=True)
class EngineModelFacts:
    """What the BLS must know of an engine model that is not ours, read from its config.pbtxt and engine folder.

    `python`: it is of Triton's Python backend, in processes of its own.
    """

    inputs: frozenset[str]
    decoupled: bool
    python: bool
    max_context: int
    vocab_size: int

    @classmethod
    def read(cls, repository: Path, model: str, max_context: int, vocab_size: int) -> EngineModelFacts:
        """`max_context` and `vocab_size` are the tokenizer's, for an engine folder that cannot be read from here."""
        config = _sibling_config(repository, model)
        engine = sibling_parameter(repository, model, "gpt_model_path")
        built = _engine_config(Path(engine)) if engine else {}
        return cls(
            frozenset(re.findall(r'name:\s*"(\w+)"', config)),
            re.search(r"decoupled:\s*(true|True)", config) is not None,
            sibling_backend(repository, model) == "python",
            built.get("build_config", {}).get("max_seq_len", max_context),
            built.get("pretrained_config", {}).get("vocab_size", vocab_size),
        )


def _engine_config(engine_dir: Path) -> dict[str, Any]:
    file = engine_dir / "config.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _sibling_config(repository: Path, model: str) -> str:
    file = repository / model / "config.pbtxt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def sibling_parameter(repository: Path, model: str, key: str) -> str | None:
    """A filled parameter of another model of the repository; stock's commands give some values to one model only."""
    pattern = rf'key:\s*"{key}"\s*,?\s*value:?\s*\{{\s*string_value:\s*"([^"]*)"'
    found = re.search(pattern, _sibling_config(repository, model))
    return Parameters(model, {key: found[1]}).text(key) if found else None


def sibling_backend(repository: Path, model: str) -> str | None:
    """The backend of another model of the repository; None where there is no such model."""
    found = re.search(r'^\s*backend:\s*"([^"]*)"', _sibling_config(repository, model), re.MULTILINE)
    return found[1] if found else None


def engine_address(server_pid: int, model: str) -> str:
    """Where the engine of `model` listens: one per server, known to all of the server's models without being told.

    Containers on the host's network share these addresses but not their process ids, hence the namespace.
    """
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return f"qwen-triton/{namespace}/{server_pid}/{model}"
