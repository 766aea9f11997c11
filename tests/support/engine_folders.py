"""Writes engine folders like trtllm-build's: config.json from examples of its own classes, plans of a few bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.folders import CONTRACT

EXAMPLES = CONTRACT / "examples"
PLAIN = "qwen2.5-14b_tp1_pp2_w4a16"


def write_engine(
    folder: Path, version: str = "0.14.0", case: str = PLAIN, built: dict[str, Any] | None = None, **plugins: Any
) -> Path:
    """An engine folder of `case`; `built` changes build_config, `plugins` its plugin_config."""
    config = json.loads((EXAMPLES / f"engine_config.{case}.json").read_text())
    config["version"] = version
    config["build_config"].update(built or {})
    config["build_config"]["plugin_config"].update(plugins)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for rank in range(config["pretrained_config"]["mapping"]["world_size"]):
        (folder / f"rank{rank}.engine").write_bytes(b"plan")
    return folder
