"""Facts about an engine model of another backend, read from its config.pbtxt and engine folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model_config import sibling_backend, sibling_config, sibling_parameter
from ...tensors.contract import LORA_TASK_ID, RETURN_PERF_METRICS


@dataclass(frozen=True)
class EngineModelFacts:
    """Facts about an engine model: the names of its inputs, and whether it is decoupled; lengths in tokens.

    `guided`: it keeps grammars, which needs TensorRT-LLM 0.19 and a backend for them. `lora`: the engine takes adapters, as
    far as is known. `python`: it runs in Triton's Python
    backend, in processes of its own.
    """

    inputs: frozenset[str]
    decoupled: bool
    python: bool
    max_context: int
    vocab_size: int
    guided: bool = False
    lora: bool = True

    @classmethod
    def read(cls, repository: Path, model: str, max_context: int, vocab_size: int) -> EngineModelFacts:
        """Reads them. `max_context` and `vocab_size` are the tokenizer's, for an engine folder that is not on this machine."""
        config = sibling_config(repository, model)
        engine = sibling_parameter(repository, model, "gpt_model_path")
        built = _engine_config(Path(engine)) if engine else {}
        return cls(
            frozenset(re.findall(r'name:\s*"(\w+)"', config)),
            re.search(r"decoupled:\s*(true|True)", config) is not None,
            sibling_backend(repository, model) == "python",
            built.get("build_config", {}).get("max_seq_len", max_context),
            built.get("pretrained_config", {}).get("vocab_size", vocab_size),
            bool(sibling_parameter(repository, model, "guided_decoding_backend")),
            not built or bool(built.get("build_config", {}).get("plugin_config", {}).get("lora_plugin")),
        )

    @property
    def honours(self) -> tuple[str, ...]:
        """What requests may use of this model beyond what every release has (EngineInfo.honours)."""
        honoured = {LORA_TASK_ID: self.lora, RETURN_PERF_METRICS: True}
        return tuple(name for name, honours in honoured.items() if honours and name in self.inputs)


def _engine_config(engine_dir: Path) -> dict[str, Any]:
    file = engine_dir / "config.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
