"""The kinds of engine that run in a process of their own: for each its options and where its StepEngine is.

A new engine is a folder with `options.py` and `engine.py`, and one line here: the deployment's schema and the engine's
process read this table. Importing it imports no engine's library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from ..errors import ConfigurationError
from .engine import StepEngine
from .llmapi.options import LlmapiOptions
from .openvino.options import OpenVinoOptions
from .option import read_options
from .replay.options import ReplayOptions
from .vllm.options import VllmOptions


@dataclass(frozen=True, slots=True)
class EngineKind:
    """`engine`: module:class below this package. `extra`: the extra of this distribution that installs its library.

    `requires` and `environment`: a library that the models' interpreter need not have, and the virtual environment that
    `make vllm` makes for it, "" where none is; the engine's process then runs there (see process/interpreter.py).
    """

    options: type
    engine: str
    extra: str = ""
    requires: str = ""
    environment: str = ""


ENGINES: Mapping[str, EngineKind] = {
    "openvino": EngineKind(OpenVinoOptions, "openvino.engine:OpenVinoEngine", extra="openvino"),
    "replay": EngineKind(ReplayOptions, "replay.engine:ReplayEngine"),
    "llmapi": EngineKind(LlmapiOptions, "llmapi.engine:LlmapiEngine", requires="tensorrt_llm"),
    "vllm": EngineKind(VllmOptions, "vllm.engine:VllmEngine", requires="vllm", environment=".venv-vllm"),
}


def load_engine(description: Mapping[str, Any]) -> StepEngine:
    """The engine of a JSON object with its kind as `engine` and its options beside that.

    Raises ConfigurationError for an unknown kind, an unknown or wrong option, and a library that is not installed.
    """
    name = description.get("engine")
    kind = ENGINES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigurationError(f"engine: expected {' or '.join(ENGINES)}, got {name!r}")
    options: Any = read_options(kind.options, {key: value for key, value in description.items() if key != "engine"})
    module, _, engine = kind.engine.partition(":")
    try:
        loaded = import_module(f"{__package__}.{module}")
    except ImportError as error:
        remedy = f"pip install 'qwen-triton[{kind.extra}]'" if kind.extra else "install qwen-triton again"
        raise ConfigurationError(f"engine: {name} cannot be loaded ({error}); {remedy}") from error
    return cast(StepEngine, getattr(loaded, engine)(options))
