"""A backend named `tensorrtllm` for machines without NVIDIA's: the replay engine with the same name and contract.

Rank 0 answers. The other ranks behave like NVIDIA's workers: their initialisation does not return, so that their server
never opens its ports; they run until terminated. Used as a Python-based backend: backends/tensorrtllm/model.py.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from qwen_triton.triton.engine import EngineModel

_OPTIONS = {"engine": "replay", "mode": "echo", "step_ms": 5}


class TritonPythonModel(EngineModel):
    """The engine model of this project, told to replay."""

    def initialize(self, args: Mapping[str, str]) -> None:
        if os.environ.get("OMPI_COMM_WORLD_RANK", "0") != "0":
            print("worker rank: holds a part of the engine and serves nobody", flush=True)
            while True:
                time.sleep(60)
        config = json.loads(args["model_config"])
        config["parameters"]["engine_options"] = {"string_value": json.dumps(_OPTIONS)}
        super().initialize({**args, "model_config": json.dumps(config)})
