"""The subject of the doctor's checks: a deployment and the machine that is to serve it, each fact read once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from qwen_triton.checkpoint.text_files import TokenizerFolder
from qwen_triton.errors import ConfigurationError

from ..deployment.engine_sections import TensorRtLlmSection
from ..deployment.schema import Deployment
from ..trtllm.built_engine import BuiltEngine
from ..trtllm.gpus import Gpu, visible_gpus


@dataclass
class Site:
    """`repository`: a filled repository to check in place of the one rendered from the deployment.

    `serves`: the deployment says how it is served too; False for one that was read from `repository`.
    """

    deployment: Deployment
    repository: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    serves: bool = True

    @property
    def is_built(self) -> bool:
        """Whether the engine is NVIDIA's, with an engine folder."""
        return isinstance(self.deployment.engine, TensorRtLlmSection)

    @property
    def trtllm(self) -> TensorRtLlmSection:
        """The settings of NVIDIA's engine. Raises ConfigurationError for another engine (see `is_built`)."""
        if not isinstance(self.deployment.engine, TensorRtLlmSection):
            raise ConfigurationError(f"engine: {self.deployment.engine.kind} has no engine folder")
        return self.deployment.engine

    @property
    def model_dir(self) -> Path:
        return Path(self.deployment.model)

    @cached_property
    def tokenizer(self) -> TokenizerFolder:
        """Raises ConfigurationError when there is none."""
        return TokenizerFolder(self.model_dir)

    @cached_property
    def built(self) -> BuiltEngine:
        """The engine folder's facts; only where `is_built`. Raises ConfigurationError when it cannot be read."""
        return BuiltEngine.read(self.trtllm.engine_dir)

    @cached_property
    def vocab_size(self) -> int | None:
        """The built engine's, else what config.json says; None where neither does."""
        if self.is_built:
            return self.built.vocab_size
        file = self.model_dir / "config.json"
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        size = config.get("vocab_size")
        return size if isinstance(size, int) else None

    @cached_property
    def gpus(self) -> list[Gpu]:
        return visible_gpus(self.environment)
