"""The section `build:` of a deployment: how a TensorRT-LLM engine is built from the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from .section import FilePath, Positive, Section

Quantization = Literal[
    "none", "int8_weight_only", "int4_weight_only", "int4_gptq", "int4_awq", "fp8", "smoothquant"
]  # fmt: skip
KvCache = Literal["model", "int8", "fp8"]
Profile = Literal["default", "throughput", "latency", "long-context"]
Raw = dict[str, bool | int | float | str | list[str]]


class Build(Section):
    """Settings of a build that writes `engine.engine_dir`.

    `trtllm_version`: None = the installed one. `calib_dataset`: texts for what is calibrated, a folder or a hub name; None
    = the tool's own, which it fetches. `checkpoint_dir`: None = beside the engine. `convert_flags` go to
    convert_checkpoint.py or quantize.py, `build_flags` to trtllm-build, over the profile's. `examples`: TensorRT-LLM's
    folder of that name, `python`: an interpreter with tensorrt_llm; None = looked for.
    """

    trtllm_version: str | None = None
    quantization: Quantization = "none"
    kv_cache: KvCache = "model"
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "float16"
    smoothquant_alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    tp: Positive = 1
    pp: Positive = 1
    calib_dataset: str | None = None
    profile: Profile = "default"
    checkpoint_dir: FilePath | None = None
    convert_flags: Raw = Field(default_factory=dict)
    build_flags: Raw = Field(default_factory=dict)
    workers: Positive | None = None
    smoke_run: bool = True
    smoke_prompt: str = "你好，请问你叫什么？"
    smoke_output_len: Positive = 50
    examples: FilePath | None = None
    python: FilePath | None = None

    def with_paths(self, base: Path) -> Build:
        """A copy whose relative folders are taken from `base`."""
        given = {key: getattr(self, key) for key in ("checkpoint_dir", "examples", "python")}
        paths: dict[str, Any] = {key: (base / path).absolute() for key, path in given.items() if path is not None}
        if self.calib_dataset is not None and self.calib_dataset.startswith((".", "~")):
            paths["calib_dataset"] = str((base / Path(self.calib_dataset).expanduser()).absolute())
        return self.model_copy(update=paths)

    @property
    def world_size(self) -> int:
        """Ranks of the engine, one GPU each."""
        return self.tp * self.pp
