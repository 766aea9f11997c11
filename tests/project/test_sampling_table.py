"""A new sampling parameter is one line of the core's table, and a word for each engine that honours it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import ROOT

PACKAGES = (
    "backend_src/qwen_triton",
    "client/qwen_triton_client",
    "client/qwen_triton_openai",
    "build_scripts/qwen_triton_build",
)
LINE = '    warmth: float | None = _number("a parameter that no engine has", 0, 2, neutral=0)\n'
BEFORE = "    best_of: int | None ="
SCRIPT = r"""
import argparse, json, sys
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from qwen_triton import types
from qwen_triton.engines import capabilities
from qwen_triton.engines.process.messages import decode_request, encode_request
from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.contract import INPUTS
from qwen_triton.tensors.engine_inputs import decode_engine, encode_engine_request
from qwen_triton.tensors.text_inputs import decode_generate, encode_generate
from qwen_triton.types import EngineRequest, SamplingParams
from qwen_triton_build.repository.overlay import PYTHON, lay_over, overlay_text
from qwen_triton_client.parameters import build_request
from qwen_triton_client.terminal.flags import add_parameter_flags, read_parameters
from qwen_triton_openai.bodies.body import check_parameters
from qwen_triton_openai.bodies.chat_plan import plan_chat
from qwen_triton_openai.endpoints.completions import plan_completion
from qwen_triton_openai.bodies.tables import parameter_table
from qwen_triton_openai.settings import ShimSettings


def refusal(ask):
    try:
        ask()
    except InvalidRequest as error:
        return str(error)
    return None


def declared(model):
    config = model_config_pb2.ModelConfig(name=model)
    config.ensemble_scheduling.step.add(model_name="preprocessing")
    config.ensemble_scheduling.step.add(model_name="tensorrt_llm")
    lay_over(config, PYTHON, overlay_text(PYTHON, model))
    wired = config.ensemble_scheduling.step[1].input_map.get("warmth")
    return ["warmth" in [t.name for t in config.input], wired if model == "ensemble" else None]


parser = argparse.ArgumentParser()
add_parameter_flags(parser)
arrays = encode_generate(build_request({"warmth": 0.5}, prompt="x"))
request = EngineRequest(token_ids=(1, 2), sampling=SamplingParams(max_tokens=3, seed=1, warmth=0.5))
neutral = EngineRequest(token_ids=(1, 2), sampling=SamplingParams(max_tokens=3, warmth=0.0))
sent = encode_engine_request(request, {t.name for t in INPUTS["tensorrt_llm"]}, True, 10)
flat = {name: array if name == "input_ids" else array[:, 0] for name, array in sent.items()}
body = {"model": "qwen", "warmth": 0.5}
chat = check_parameters(body | {"messages": [{"role": "user", "content": "x"}]}, "chat")
completion = check_parameters(body | {"prompt": "x"}, "completions")
refused = {engine: refusal(lambda: capabilities.check_honoured(engine, request)) for engine in capabilities.HONOURED}
unasked = [refusal(lambda: capabilities.check_honoured(engine, neutral)) for engine in capabilities.HONOURED]
capabilities.HONOURED["replay"] |= {"warmth"}
print(json.dumps({
    "file": types.__file__,
    "models": [model for model, inputs in INPUTS.items() if "warmth" in [t.name for t in inputs]],
    "tensor": [str(arrays["warmth"].dtype), arrays["warmth"].tolist()],
    "decoded": decode_generate(arrays)[0].sampling.warmth,
    "beyond": refusal(lambda: decode_generate(arrays | {"warmth": np.array([[3]], np.float32)})),
    "flag": read_parameters(parser.parse_args(["--warmth", "0.25"])),
    "chat": plan_chat(chat, ShimSettings())[0].sampling.warmth,
    "completion": plan_completion(completion, ShimSettings())[0].sampling.warmth,
    "documented": "| `warmth` | ✓ | ✓ | a parameter that no engine has (0 to 2) |" in parameter_table(),
    "engine tensor": sent["warmth"].tolist(),
    "engine decoded": decode_engine(flat, echo=False)[0].request.sampling.warmth,
    "to the process": decode_request(encode_request(request)).sampling.warmth,
    "configured": {model: declared(model) for model in ("tensorrt_llm", "tensorrt_llm_bls", "ensemble")},
    "refused": refused,
    "unasked": unasked,
    "honoured": refusal(lambda: capabilities.check_honoured("replay", request)),
}))
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the packages with one more line in the table does, in a process of its own."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    table = folder / "qwen_triton" / "types.py"
    text = table.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    table.write_text(text.replace(BEFORE, LINE + BEFORE), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert Path(told["file"]) == table
    return told


def test_the_models_take_it_and_hand_it_on(facts: dict[str, Any]) -> None:
    """As a tensor of its own name and type, from the text models to the engine model and to the engine's process."""
    assert facts["models"] == ["tensorrt_llm", "tensorrt_llm_bls", "ensemble"]
    assert facts["tensor"] == ["float32", [[0.5]]]
    assert facts["engine tensor"] == [[0.5]]
    assert (facts["decoded"], facts["engine decoded"], facts["to the process"]) == (0.5, 0.5, 0.5)
    assert facts["beyond"] == "warmth: must be in [0, 2], got 3"


def test_triton_is_told_of_it(facts: dict[str, Any]) -> None:
    """The rendered configurations declare it, and the ensemble hands it to the engine model."""
    assert facts["configured"] == {
        "tensorrt_llm": [True, None],
        "tensorrt_llm_bls": [True, None],
        "ensemble": [True, "warmth"],
    }


def test_clients_take_it(facts: dict[str, Any]) -> None:
    """A flag of the commands, and a parameter of both of the shim's endpoints with its line in the document."""
    assert facts["flag"] == {"warmth": 0.25}
    assert (facts["chat"], facts["completion"], facts["documented"]) == (0.5, 0.5, True)


def test_engines_that_do_not_list_it_refuse_it(facts: dict[str, Any]) -> None:
    """By name, unless its value asks for nothing; one word makes an engine take it."""
    assert facts["refused"] == {
        engine: f"warmth: the {engine} engine does not support it; leave it out"
        for engine in ("openvino", "replay", "vllm", "llmapi", "tensorrtllm")
    }
    assert facts["unasked"] == [None, None, None, None, None]
    assert facts["honoured"] is None
