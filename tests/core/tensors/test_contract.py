"""The five configs, our contract and stock's agree on every tensor."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton.tensors.contract import INPUTS, NOW_OPTIONAL, OUTPUTS, Tensor
from qwen_triton_build.repository.overlay import PYTHON, lay_over, overlay_text
from tests.support.folders import ROOT

STOCK = json.loads((ROOT / "tests/data/contract/triton_configs.v0.14.0.json").read_text())["models"]
MODELS = sorted(INPUTS)


def config(model: str) -> Any:
    """The model's config.pbtxt as a python engine gets it, with placeholders filled by values that parse anywhere."""
    text = (ROOT / "model_repository" / model / "config.pbtxt").read_text(encoding="utf-8")
    text = text.replace("${decoupled_mode}", "true")
    parsed = text_format.Parse(re.sub(r"\$\{\w+\}", "1", text), model_config_pb2.ModelConfig())
    lay_over(parsed, PYTHON, overlay_text(PYTHON, model))
    return parsed


def facts(tensor: Any) -> dict[str, Any]:
    """A protobuf tensor as the stock data spells it."""
    kinds = model_config_pb2.DataType
    return {
        "data_type": kinds.Name(tensor.data_type),
        "dims": list(tensor.dims),
        "reshape": list(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        "optional": getattr(tensor, "optional", False),
        "allow_ragged_batch": getattr(tensor, "allow_ragged_batch", False),
    }


@pytest.mark.parametrize("model", MODELS)
def test_stock_inputs_are_there_as_stock_declares_them(model: str) -> None:
    """A stock client fits: same name, type, dims, ragged; never required where stock's is optional."""
    ours = {t.name: facts(t) for t in config(model).input}
    for stock in STOCK[model]["inputs"]:
        expected = {k: v for k, v in stock.items() if k != "name"} | {"reshape": None}
        if stock["name"] in NOW_OPTIONAL.get(model, ()):
            expected["optional"] = True
        assert ours[stock["name"]] == expected, stock["name"]


@pytest.mark.parametrize("model", MODELS)
def test_no_input_is_reshaped(model: str) -> None:
    """Stock's are, which no client sees; a batch of no rows of such an input ends tritonserver 2.51 in its Python backend."""
    assert [t.name for t in config(model).input if t.HasField("reshape")] == []


@pytest.mark.parametrize("model", MODELS)
def test_stock_outputs_are_there_as_stock_declares_them(model: str) -> None:
    """A stock client finds every output under its name, type and dims."""
    ours = {t.name: facts(t) for t in config(model).output}
    for stock in STOCK[model]["outputs"]:
        found = ours[stock["name"]]
        assert (found["data_type"], found["dims"]) == (stock["data_type"], stock["dims"]), stock["name"]


@pytest.mark.parametrize("model", MODELS)
def test_added_inputs_are_optional(model: str) -> None:
    """Whoever knows only stock's inputs needs no others."""
    stock = {t["name"] for t in STOCK[model]["inputs"]}
    assert [t.name for t in config(model).input if t.name not in stock and not t.optional] == []


@pytest.mark.parametrize("model", MODELS)
def test_configs_and_contract_agree(model: str) -> None:
    """contract.py is what the models read by; config.pbtxt is what Triton checks by."""

    def ours(tensor: Tensor) -> tuple[Any, ...]:
        return tensor.name, tensor.dtype, list(tensor.dims), tensor.optional

    def theirs(tensor: Any) -> tuple[Any, ...]:
        fact = facts(tensor)
        return tensor.name, fact["data_type"], fact["dims"], fact["optional"]

    parsed = config(model)
    assert sorted(map(theirs, parsed.input)) == sorted(map(ours, INPUTS[model]))
    assert sorted(map(theirs, parsed.output)) == sorted(map(ours, OUTPUTS[model]))


@pytest.mark.parametrize("model", MODELS)
def test_stock_placeholders_keep_their_names_and_places(model: str) -> None:
    """fill_template.py's arguments for stock's files fill ours."""
    text = (ROOT / "model_repository" / model / "config.pbtxt").read_text(encoding="utf-8")
    assert set(STOCK[model]["template_variables"]) <= set(re.findall(r"\$\{(\w+)\}", text))
    needed = set(re.findall(r'[^"]\$\{(\w+)\}', text))
    assert needed == set(STOCK[model]["variables_without_which_the_file_does_not_parse"])


@pytest.mark.parametrize("model", [m for m in MODELS if STOCK[m]["parameters"]])
def test_stock_parameters_are_there(model: str) -> None:
    """Parameters that the C++ backend or stock's models read keep key and placeholder."""
    text = (ROOT / "model_repository" / model / "config.pbtxt").read_text(encoding="utf-8")
    found = dict(re.findall(r'key: "([^"]+)" value: \{ string_value: "([^"]*)" \}', text))
    assert found.items() >= STOCK[model]["parameters"].items()


def test_the_ensemble_wires_what_stock_wires() -> None:
    """Each of stock's connections is there; ours come on top."""
    steps = {step.model_name: step for step in config("ensemble").ensemble_scheduling.step}
    for stock in STOCK["ensemble"]["ensemble_steps"]:
        ours = steps[stock["model_name"]]
        assert dict(ours.input_map).items() >= stock["input_map"].items()
        assert dict(ours.output_map).items() >= stock["output_map"].items()


def test_every_ensemble_input_reaches_a_step() -> None:
    """An input that no step reads would be dropped silently."""
    parsed = config("ensemble")
    read = {value for step in parsed.ensemble_scheduling.step for value in step.input_map.values()}
    assert {t.name for t in parsed.input} - read == set()


def test_pieces_of_a_stream_keep_their_order_with_several_postprocessors() -> None:
    """Triton answers in the order of the requests, whichever instance was faster."""
    assert config("postprocessing").dynamic_batching.preserve_ordering
