"""Settings of the models, from the parameters of their config.pbtxt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ..chat.tool_formats.formats import SETTINGS, ToolFormatSetting
from ..errors import ConfigurationError
from ..model_config import Parameters, inherit_parameters, sibling_backend
from ..tensors.contract import EXCLUDE_INPUT_IN_OUTPUT, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from ..types import PromptFormat

EngineLinkKind = Literal["own", "grpc"]
"""How the BLS reaches its engine: by the socket of our engine's process, or as a Triton model by the server's own gRPC."""

_EXEC_REMEDY = (
    "exec is not supported; leave it unfilled and serve gRPC on loopback "
    "(tritonserver --grpc-address=127.0.0.1, with --grpc-use-ssl if it must be TLS)"
)


_OWNERS = {
    "tokenizer_dir": PREPROCESSING,
    "prompt_format": PREPROCESSING,
    "max_context": PREPROCESSING,
    "tool_format": PREPROCESSING,
    "skip_special_tokens": POSTPROCESSING,
}
"""The model whose parameter counts where another has the parameter too and leaves it unfilled."""


@dataclass(frozen=True)
class TextSettings:
    """Settings of the models that read or write text. `max_context` in tokens, None = the tokenizer's.

    `tool_format`: that of the checkpoint's tool calls, auto = found in its chat template.
    """

    tokenizer_dir: Path
    prompt_format: PromptFormat
    max_context: int | None
    skip_special_tokens: bool
    tool_format: ToolFormatSetting = "auto"

    @classmethod
    def read(cls, parameters: Parameters, repository: Path) -> TextSettings:
        """Reads them; what is not filled is what the model says that owns it, as stock's BLS asks those models.

        Raises ConfigurationError, with the key, for what is filled nowhere and needed, or has a wrong value.
        """
        parameters = inherit_parameters(parameters, repository, _OWNERS)
        folder = parameters.text("tokenizer_dir")
        if folder is None:
            raise ConfigurationError(f"{parameters.model}/config.pbtxt: tokenizer_dir is not filled; give a folder")
        return cls(
            Path(folder),
            cast(PromptFormat, parameters.choice("prompt_format", ("raw", "chat"), "raw")),
            parameters.number("max_context"),
            parameters.flag("skip_special_tokens", True),
            cast(ToolFormatSetting, parameters.choice("tool_format", SETTINGS, "auto")),
        )


@dataclass(frozen=True)
class BlsSettings:
    """Settings of the BLS. `max_in_flight` and `queue_timeout_ms`: 0 = no bound; `max_responses_per_s`: 0 = by processors."""

    engine_model: str
    engine_link: EngineLinkKind
    accumulate: bool
    echo: bool
    max_in_flight: int
    queue_timeout_ms: int
    max_responses_per_s: int

    @classmethod
    def read(cls, parameters: Parameters, repository: Path) -> BlsSettings:
        """Reads them; exclude_input_in_output, if it is not filled, is the engine model's, and false in stock's template.

        Raises ConfigurationError, with the key, for a wrong value and for what is not supported.
        """
        engine_model = parameters.text("tensorrt_llm_model_name") or TENSORRT_LLM
        parameters = inherit_parameters(parameters, repository, {EXCLUDE_INPUT_IN_OUTPUT: engine_model})
        for key in ("tensorrt_llm_draft_model_name", "multimodal_encoders_name"):
            if parameters.text(key):
                raise parameters.error(key, "is not supported; leave it unfilled")
        return cls(
            engine_model,
            _engine_link(parameters, sibling_backend(repository, engine_model)),
            parameters.flag("accumulate_tokens", False),
            not parameters.flag(EXCLUDE_INPUT_IN_OUTPUT, False),
            parameters.number("max_in_flight") or 0,
            parameters.number("queue_timeout_ms") or 0,
            parameters.number("max_responses_per_s") or 0,
        )


@dataclass(frozen=True)
class EngineSettings:
    """Settings of the engine model, beside its engine's options. `max_in_flight` and `queue_timeout_ms`: 0 = no bound."""

    echo: bool
    max_in_flight: int
    queue_timeout_ms: int

    @classmethod
    def read(cls, parameters: Parameters) -> EngineSettings:
        """Reads them; unfilled, answers begin with the prompt's ids, as in stock. Raises ConfigurationError, with the key."""
        return cls(
            not parameters.flag(EXCLUDE_INPUT_IN_OUTPUT, False),
            parameters.number("max_in_flight") or 0,
            parameters.number("queue_timeout_ms") or 0,
        )


def _engine_link(parameters: Parameters, backend: str | None) -> EngineLinkKind:
    """`engine_door`; unfilled it is "grpc" where the engine model's backend is not Python."""
    if parameters.text("engine_door") == "exec":
        raise parameters.error("engine_door", _EXEC_REMEDY)
    default = "own" if backend in ("python", None) else "grpc"
    return cast(EngineLinkKind, parameters.choice("engine_door", ("own", "grpc"), default))
