"""Overlays of the model configurations, for engines other than TensorRT-LLM 0.14, which model_repository/ fits.

A folder for each step: `python` for engines of this project; a TensorRT-LLM version for what is new since it. In a folder,
a file for each model that changes, of the same form as config.pbtxt. Laid over a model's config, a tensor replaces the
one of its name or is added; an ensemble's step gains the connections; parameters are added; a queue replaces the model's.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton.tensors.contract import ADDED_SAMPLING, ENSEMBLE, INPUTS, PREPROCESSING, TENSORRT_LLM
from qwen_triton.types import SAMPLING

from ..trtllm.tools.versions import Version

PYTHON = "python"
_FOLDER = Path(__file__).with_name("overlays")
_SINCE = (Version(0, 19), Version(0, 20), Version(1, 0))

REMOVED: dict[str, dict[str, tuple[str, ...]]] = {
    PYTHON: {TENSORRT_LLM: ("enableContextFMHAFP32Acc", "multiBlockMode")},
    "0.14": {TENSORRT_LLM: ("tokenizer_dir", "engine_options", "max_in_flight", "queue_timeout_ms", "limits")},
    "0.19": {
        TENSORRT_LLM: ("enableContextFMHAFP32Acc", "multiBlockMode"),
        PREPROCESSING: ("visual_model_path",),
    },
    "0.20": {TENSORRT_LLM: ("min_length", "random_seed"), ENSEMBLE: ("min_length", "random_seed")},
}
"""Tensors and parameters that a step removes; among them parameters of this project that NVIDIA's backend ignores."""

_SAMPLING_NAMES = {name for p in SAMPLING for name in (*p.tensors, *p.engine_tensors)}


def steps_for(version: Version) -> tuple[str, ...]:
    """The steps from the template to TensorRT-LLM `version`, in order."""
    return ("0.14", *(str(since) for since in _SINCE if version >= since))


def overlay_text(step: str, model: str) -> str:
    """The text that a step lays over a model's config.pbtxt, with placeholders; empty when there is none."""
    file = _FOLDER / step / f"{model}.pbtxt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def lay_over(config: model_config_pb2.ModelConfig, step: str, overlay: str) -> None:
    """Changes `config` by one step; `overlay` is the step's text for this model, filled."""
    addition = text_format.Parse(overlay, model_config_pb2.ModelConfig())
    _remove(config, REMOVED.get(step, {}).get(config.name, ()))
    for tensors, additions in ((config.input, addition.input), (config.output, addition.output)):
        index = {tensor.name: n for n, tensor in enumerate(tensors)}
        for tensor in additions:
            target = tensors[index[tensor.name]] if tensor.name in index else tensors.add()
            target.CopyFrom(tensor)
    if addition.HasField("dynamic_batching"):
        config.dynamic_batching.CopyFrom(addition.dynamic_batching)
    for key, value in addition.parameters.items():
        config.parameters[key].CopyFrom(value)
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    for added in addition.ensemble_scheduling.step:
        steps[added.model_name].input_map.update(added.input_map)
        steps[added.model_name].output_map.update(added.output_map)
    if step == PYTHON:
        _declare_sampling(config)
        for (
            tensor
        ) in config.input:  # a batch of no rows of a reshaped input ends tritonserver 2.51 in its Python backend
            tensor.ClearField("reshape")


def _declare_sampling(config: model_config_pb2.ModelConfig) -> None:
    """Adds the sampling parameters of the core's table that no file declares, and the ensemble's connections to them."""
    declared = {tensor.name for tensor in config.input}
    for tensor in INPUTS[config.name]:
        if tensor.name in _SAMPLING_NAMES - declared:
            data_type = model_config_pb2.DataType.Value(tensor.dtype)
            config.input.add(name=tensor.name, data_type=data_type, dims=tensor.dims, optional=tensor.optional)
    for step in config.ensemble_scheduling.step:
        if step.model_name == TENSORRT_LLM:
            step.input_map.update(ADDED_SAMPLING)


def _remove(config: model_config_pb2.ModelConfig, names: tuple[str, ...]) -> None:
    for name in names:
        config.parameters.pop(name, None)
        for tensors in (config.input, config.output):
            kept = [tensor for tensor in tensors if tensor.name != name]
            del tensors[:]
            tensors.extend(kept)
        for step in config.ensemble_scheduling.step:
            step.input_map.pop(name, None)
