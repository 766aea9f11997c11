"""Machines with GPUs and checkpoints without weights, for the doctor's checks of engines of GPU libraries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.doctor.check import Check, Finding, run_checks
from qwen_triton_build.doctor.site import Site
from qwen_triton_build.trtllm.gpus import Gpu

H200 = Gpu("NVIDIA H200", 143_771, 9.0, "580.95.05", 143_000)
QWEN_14B = {
    "model_type": "qwen2", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48,
    "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064, "max_position_embeddings": 32768,
}  # fmt: skip
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4}}


def write_config(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """`folder`, with the config.json of a 14B and no weights; `config` changes it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**QWEN_14B, **(config or {})}))
    return folder


def site_of(model: Path, gpus: list[Gpu], **engine: Any) -> Site:
    """A deployment of `model` on a machine with these GPUs."""
    site = Site(Deployment.model_validate({"model": str(model), "engine": engine}), environment={})
    site.__dict__["gpus"] = gpus
    return site


def look(checks: Sequence[Check], site: Site) -> dict[str, Finding]:
    """The finding of each check by its name."""
    return {finding.check: finding for finding in run_checks(checks, site)}


def messages(checks: Sequence[Check], site: Site) -> dict[str, str]:
    """The message of each check that has one to give."""
    return {name: finding.message for name, finding in look(checks, site).items() if finding.message}
