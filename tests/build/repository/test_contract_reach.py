"""Every input and output of stock's models, of every version, is passed on, made here, or refused by name with the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.engines.capabilities import HONOURED
from qwen_triton.engines.engine import EngineInfo
from qwen_triton.engines.triton_model.client import ModelClient
from qwen_triton.engines.triton_model.facts import EngineModelFacts
from qwen_triton.engines.triton_model.sequence import ModelSequence
from qwen_triton.engines.triton_model.server_address import GrpcAddress
from qwen_triton.errors import InvalidRequest
from qwen_triton.preprocess import Preprocessor
from qwen_triton.tensors.contract import BLS, ENSEMBLE, INPUTS, PERF_METRICS, PREPROCESSING, TENSORRT_LLM
from qwen_triton.tensors.engine_inputs import encode_engine_request
from qwen_triton.tensors.prompt import decode_prompts
from qwen_triton.tensors.request_parameters import check_parameters
from qwen_triton.tensors.text_inputs import decode_generate
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest
from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from tests.build.repository.test_overlays import VERSIONS, contract, expected, rendered, spelled
from tests.support.contract_reach import (
    ENGINE_INPUTS,
    NEVER_SENT,
    OF_THE_BLS,
    OF_THE_ENGINE,
    OWN_OUTPUTS,
    PASSED_OUTPUTS,
    REFUSED,
    sample,
)
from tests.support.engine_folders import write_engine

each_version = pytest.mark.parametrize("version", VERSIONS)
ELSEWHERE = {name for name, way in ENGINE_INPUTS.items() if way == "asked of tensorrt_llm"}


@pytest.fixture(scope="module")
def preprocessor(qwen25_folder: Path, qwen25: Tokenizer) -> Preprocessor:
    return Preprocessor(qwen25, ChatTemplate.from_folder(qwen25_folder, qwen25))


def names(version: str, model: str, ways: str) -> set[str]:
    return {tensor["name"] for tensor in contract(version)[model][ways]}


@each_version
def test_no_tensor_of_a_contract_is_forgotten(version: str) -> None:
    assert names(version, TENSORRT_LLM, "inputs") <= set(ENGINE_INPUTS)
    assert names(version, TENSORRT_LLM, "outputs") <= PASSED_OUTPUTS | OF_THE_ENGINE
    fed = {name for way in ENGINE_INPUTS.values() if isinstance(way, tuple) for name in way}
    for model in (BLS, ENSEMBLE):
        assert names(version, model, "inputs") <= fed | OF_THE_BLS | set(REFUSED)
        assert names(version, model, "outputs") <= PASSED_OUTPUTS | OWN_OUTPUTS | NEVER_SENT


def facts_of(folder: Path, version: str, **plugins: Any) -> EngineModelFacts:
    """What the BLS knows of the engine model that is rendered for an engine of `version`."""
    engine = write_engine(folder / "engine", version, built={"max_beam_width": 4}, **plugins)
    settings = TensorRtLlmSection(
        kind="tensorrtllm",
        engine_dir=engine,
        guided_decoding_backend=guided(version),
        xgrammar_tokenizer_info_path=guided(version) and Path("/tokenizers/info.json"),
    )
    repository = render(placeholders(Deployment(model="m", engine=settings), folder), folder / "repository")
    return EngineModelFacts.read(repository, TENSORRT_LLM, 4096, 151_936)


def guided(version: str) -> Any:
    return None if version == "0.14.0" else "xgrammar"


def info(facts: EngineModelFacts) -> EngineInfo:
    client = ModelClient(GrpcAddress("127.0.0.1", 1, ()), TENSORRT_LLM, facts)
    try:
        return client.info()
    finally:
        client.close()


def asked(preprocessor: Preprocessor, engine: EngineInfo, *sent: str, model: str = BLS) -> EngineRequest:
    """The first sequence of a request with these inputs beside a prompt and a length."""
    dtypes = {tensor.name: tensor.dtype for tensor in INPUTS[model]}
    arrays = {name: sample(name, dtypes[name]) for name in dict.fromkeys(("text_input", *sent))}
    arrays.setdefault("max_tokens", np.array([[9]], np.int32))
    request = preprocessor.resolve_stops(decode_generate(arrays)[0])
    return preprocessor.engine_requests(request, engine)[0]


@each_version
def test_what_the_bls_passes_on_reaches_the_engine(version: str, preprocessor: Preprocessor, tmp_path: Path) -> None:
    """Under the engine's name, with its type, its number of dimensions and the value that was sent."""
    facts = facts_of(tmp_path, version, lora_plugin="auto")
    model = {t["name"]: t for t in contract(version)[TENSORRT_LLM]["inputs"]}
    for name in model:
        way = ENGINE_INPUTS[name]
        if not isinstance(way, tuple):
            continue
        sent = encode_engine_request(asked(preprocessor, info(facts), *way), facts.inputs, True, facts.vocab_size)
        kinds = {"O": "TYPE_STRING", "bool": "TYPE_BOOL", **{f"{t}": f"TYPE_{t.upper()}" for t in ("int32", "uint64")}}
        kinds |= {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "object": "TYPE_STRING"}
        assert kinds[str(sent[name].dtype)] == model[name]["data_type"], name
        assert sent[name].ndim == 1 + len(model[name]["dims"]), name
        if way == (name,):
            assert sent[name].tolist() == sample(name, model[name]["data_type"]).tolist(), name


@each_version
def test_inputs_that_are_refused_are_refused_by_name(version: str, preprocessor: Preprocessor, tmp_path: Path) -> None:
    """By the BLS, and by preprocessing for the ensemble where its first step reads them."""
    engine = info(facts_of(tmp_path, version))
    for name in names(version, BLS, "inputs") & set(REFUSED):
        with pytest.raises(InvalidRequest) as refusal:
            asked(preprocessor, engine, name)
        assert str(refusal.value) == f"{name}: {REFUSED[name]}"
    for tensor, name in {
        "DECODER_QUERY": "decoder_text_input",
        "PROMPT_TABLE_EXTRA_ID": "prompt_table_extra_id",
    }.items():
        dtype = {t.name: t.dtype for t in INPUTS[PREPROCESSING]}[tensor]
        with pytest.raises(InvalidRequest, match=f"^{name}: {REFUSED[name]}$"):
            decode_prompts({"QUERY": sample("text_input", "TYPE_STRING"), tensor: sample(name, dtype)})


@each_version
def test_inputs_of_later_releases_are_refused_where_the_engine_is_older(
    version: str, preprocessor: Preprocessor, tmp_path: Path
) -> None:
    """0.14's engine model takes adapters, and has no metrics; an engine without the plugin takes no adapter."""
    engine = info(facts_of(tmp_path, version))
    with pytest.raises(
        InvalidRequest, match=r"^lora_task_id: needs an engine that was built with lora_plugin; leave it out$"
    ):
        asked(preprocessor, engine, "lora_task_id")
    if version == "0.14.0":
        with pytest.raises(
            InvalidRequest, match=r"^return_perf_metrics: needs TensorRT-LLM 0\.19 or newer; leave it out$"
        ):
            asked(preprocessor, engine, "return_perf_metrics")
    else:
        assert asked(preprocessor, engine, "return_perf_metrics").perf_metrics


@pytest.mark.parametrize("engine", sorted(set(HONOURED) - {"tensorrtllm"}))
@pytest.mark.parametrize("name", ["lora_task_id", "return_perf_metrics"])
def test_engines_of_other_kinds_refuse_them(engine: str, name: str, preprocessor: Preprocessor) -> None:
    told = f"the {engine} engine does not support it; leave it out"
    if name == "lora_task_id" and engine in ("llmapi", "vllm"):
        told = "adapters are chosen by name here: lora_name; leave it out"
    with pytest.raises(InvalidRequest, match=f"^{name}: {told}$"):
        asked(preprocessor, EngineInfo(engine, 4096, 151_936), name)


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_inputs_that_only_the_engine_model_has_are_not_dropped_as_parameters(name: str) -> None:
    """A key of a generate body that is no input of the model would be ignored."""
    for model in (BLS, PREPROCESSING):
        with pytest.raises(InvalidRequest, match=f"^{name}: is an input of tensorrt_llm with NVIDIA's backend, not of"):
            check_parameters([name], model)


@each_version
def test_the_ensemble_passes_the_rest_on_untouched(version: str, tmp_path: Path) -> None:
    """Adapters, metrics and forms go to the engine model and come from it under one name; the BLS has the same inputs."""
    ensemble = rendered(tmp_path, version)[ENSEMBLE]
    (step,) = [s for s in ensemble.ensemble_scheduling.step if s.model_name == TENSORRT_LLM]
    offered = names(version, ENSEMBLE, "inputs")
    for name in ("lora_task_id", "lora_weights", "lora_config", "return_perf_metrics", "guided_decoding_guide"):
        assert (step.input_map.get(name) == name) == (name in offered)
    passed = PASSED_OUTPUTS & names(version, ENSEMBLE, "outputs")
    assert {name: step.output_map[name] for name in passed} == {name: name for name in passed}


@each_version
def test_the_bls_offers_what_the_contract_s_offers(version: str, tmp_path: Path) -> None:
    """No input less, and the metrics exactly where the engine has them; `num_output_tokens` has one for each answer."""
    ours, theirs = rendered(tmp_path, version)[BLS], contract(version)[BLS]
    assert names(version, BLS, "inputs") <= {tensor.name for tensor in ours.input}
    stock, found = expected(theirs["outputs"]), spelled(ours.output)
    stock.get("num_output_tokens", {})["dims"] = [-1]
    assert found.items() >= stock.items()
    metrics = PASSED_OUTPUTS - {"cum_log_probs", "output_log_probs"}
    assert metrics & set(found) == metrics & set(stock)
    declared = {tensor.name: tensor.dtype for tensor in PERF_METRICS}
    assert set(declared) == metrics
    assert {name: declared[name] for name in metrics & set(stock)} == {
        n: stock[n]["data_type"] for n in metrics & set(stock)
    }
    types = {t.name: model_config_pb2.DataType.Name(t.data_type) for t in ours.output}
    engine = {
        t.name: model_config_pb2.DataType.Name(t.data_type) for t in rendered(tmp_path, version)[TENSORRT_LLM].output
    }
    assert {name: types[name] for name in metrics & set(types)} == {
        name: engine[name] for name in metrics & set(engine)
    }


def test_metrics_are_asked_for_only_where_a_request_wants_them(preprocessor: Preprocessor, tmp_path: Path) -> None:
    """Of the engine model; each output that is asked for costs with every token."""
    engine = info(facts_of(tmp_path, "1.2.1"))
    request = asked(preprocessor, engine, "return_perf_metrics")
    assert set(ModelSequence(request).outputs) - {"output_ids", "sequence_length"} == PASSED_OUTPUTS - {
        *("cum_log_probs", "output_log_probs")
    }
    assert ModelSequence(replace(request, perf_metrics=False)).outputs == ("output_ids", "sequence_length")
