"""Settings of the models that read or write text, from the parameters of their config.pbtxt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ..errors import ConfigurationError
from ..model_config import Parameters, sibling_backend, sibling_parameter
from ..types import PromptFormat

Door = Literal["own", "grpc", "exec"]
"""How the BLS reaches an engine."""


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
