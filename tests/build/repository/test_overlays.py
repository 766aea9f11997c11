"""What is rendered for NVIDIA's backend equals the contract of the version that built the engine, tensor by tensor."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, Repository
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from tests.support.engine_folders import write_engine
from tests.support.folders import CONTRACT

VERSIONS = {"0.14.0": "v0.14.0", "0.19.0": "v0.19.0", "0.20.0": "v0.21.0", "0.21.0": "v0.21.0"} | {
    "1.0.0": "v1.1.0rc6",
    "1.1.0rc6": "v1.1.0rc6",
    "1.2.1": "v1.1.0rc6",
}
"""Engine version: the contract file that holds for it."""
FILLED = {"logits_datatype": "TYPE_FP32", "encoder_input_features_data_type": "TYPE_FP16"} | {
    "prompt_embedding_table_data_type": "TYPE_FP16"
}
CAMEL = {"enableContextFMHAFP32Acc", "multiBlockMode"}
TEXT_ONLY = {"IMAGE_BYTES", "IMAGE_URL", "VIDEO_BYTES", "IMAGE_SIZES"}
"""Inputs of later preprocessing models that ours does not declare: no ensemble connects them."""


def rendered(
    folder: Path, version: str, shared: Mapping[str, Any] = MappingProxyType({"decoupled": True}), **settings: Any
) -> dict[str, Any]:
    """{model: its rendered config} for an engine of `version`; `shared`: the section `repository`."""
    engine = TensorRtLlmSection(kind="tensorrtllm", engine_dir=write_engine(folder / "engine", version), **settings)
    deployment = Deployment(model="m", engine=engine, repository=Repository(**shared))
    repository = render(placeholders(deployment, folder), folder / "repository")
    return {
        file.parent.name: text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }


def contract(version: str) -> dict[str, Any]:
    models: dict[str, Any] = json.loads((CONTRACT / f"triton_configs.{VERSIONS[version]}.json").read_text())["models"]
    return models


def spelled(tensors: Any) -> dict[str, Any]:
    """Protobuf tensors as the contract spells them."""
    return {
        t.name: {
            "data_type": model_config_pb2.DataType.Name(t.data_type),
            "dims": list(t.dims),
            "reshape": list(t.reshape.shape) if t.HasField("reshape") else None,
            **({"optional": t.optional, "allow_ragged_batch": t.allow_ragged_batch} if hasattr(t, "optional") else {}),
        }
        for t in tensors
    }


def expected(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """The contract's tensors with the types filled that a deployment of ours fills."""
    return {
        t["name"]: {k: v if k != "data_type" else FILLED.get(v.strip("${}"), v) for k, v in t.items() if k != "name"}
        for t in tensors
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_engine_model_equals_the_contract(version: str, tmp_path: Path) -> None:
    """No tensor more, none less, each with its type, dims, reshape and raggedness; the same parameters."""
    ours, theirs = rendered(tmp_path, version)["tensorrt_llm"], contract(version)["tensorrt_llm"]
    assert spelled(ours.input) == expected(theirs["inputs"])
    assert spelled(ours.output) == expected(theirs["outputs"])
    assert set(ours.parameters) == set(theirs["parameters"]) | (CAMEL if version == "0.14.0" else set())
    assert ours.backend == "tensorrtllm"


@pytest.mark.parametrize("version", VERSIONS)
def test_queues_are_where_the_contract_has_them(version: str, tmp_path: Path) -> None:
    """Before the engine model, and since 0.19 before preprocessing, with the limits of the deployment."""
    limits = {"max_queue_size": 7, "max_queue_delay_microseconds": 40}
    ours = rendered(tmp_path, version, {"decoupled": True, **limits})
    for model in ("preprocessing", "tensorrt_llm"):
        queue = contract(version)[model]["dynamic_batching"]
        assert ours[model].HasField("dynamic_batching") == (queue is not None), model
        if queue is not None:
            found = ours[model].dynamic_batching
            assert list(found.preferred_batch_size) == [8]
            assert found.max_queue_delay_microseconds == 40
            assert found.default_queue_policy.max_queue_size == 7


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ensemble_offers_what_the_contract_s_offers(version: str, tmp_path: Path) -> None:
    """Its outputs are exactly stock's, an output that no engine gives would promise what never comes; more inputs are ours."""
    ours, theirs = rendered(tmp_path, version)["ensemble"], contract(version)["ensemble"]
    inputs, stock = spelled(ours.input), expected(theirs["inputs"])
    for now_optional in ("text_input", "max_tokens"):
        stock[now_optional]["optional"] = True
    assert inputs.items() >= stock.items()
    assert spelled(ours.output) == expected(theirs["outputs"])
    steps = {step.model_name: step for step in ours.ensemble_scheduling.step}
    for step in theirs["ensemble_steps"]:
        images = {k for k in (*step["input_map"], *step["output_map"]) if k in TEXT_ONLY}
        maps = steps[step["model_name"]]
        assert dict(maps.input_map).items() >= {k: v for k, v in step["input_map"].items() if k not in images}.items()
        assert dict(maps.output_map).items() >= step["output_map"].items()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_connection_of_the_ensemble_has_both_ends(version: str, tmp_path: Path) -> None:
    """Triton refuses an ensemble whose maps name tensors that the steps' models do not have, or types that differ."""
    models = rendered(tmp_path, version)
    ensemble = models["ensemble"]
    types = {t.name: t.data_type for t in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = models[step.model_name]
        types |= {step.output_map[t.name]: t.data_type for t in model.output if t.name in step.output_map}
        assert set(step.output_map) <= {t.name for t in model.output}
    for step in ensemble.ensemble_scheduling.step:
        inputs = {t.name: t.data_type for t in models[step.model_name].input}
        assert {key: types[value] for key, value in step.input_map.items()} == {k: inputs[k] for k in step.input_map}
    assert {t.name: t.data_type for t in ensemble.output}.items() <= types.items()
    read = {value for step in ensemble.ensemble_scheduling.step for value in step.input_map.values()}
    assert {t.name for t in ensemble.input} <= read, "an input that no step reads would be dropped"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("model", ["preprocessing", "postprocessing", "tensorrt_llm_bls"])
def test_text_models_take_what_stock_s_take(model: str, version: str, tmp_path: Path) -> None:
    """Apart from the images of preprocessing; what is not honoured is declared to be refused."""
    ours, theirs = rendered(tmp_path, version)[model], contract(version)[model]
    assert {t["name"] for t in theirs["inputs"]} - {t.name for t in ours.input} <= TEXT_ONLY
    stock, found = expected(theirs["inputs"]), spelled(ours.input)
    other = {"optional": 0, "reshape": 0}  # what clients do not see
    assert {n for n in set(stock) & set(found) if {**stock[n], **other} != {**found[n], **other}} == set()
    assert set(theirs["parameters"] or {}) <= set(ours.parameters)


def test_camel_case_keys_reach_the_backend_of_0_14(tmp_path: Path) -> None:
    """The C++ backend of 0.14 reads multiBlockMode where stock writes multi_block_mode; both hold the value."""
    parameters = rendered(tmp_path, "0.14.0", multi_block_mode=False, enable_context_fmha_fp32_acc=True)[
        "tensorrt_llm"
    ].parameters
    assert parameters["multiBlockMode"].string_value == parameters["multi_block_mode"].string_value == "false"
    assert parameters["enableContextFMHAFP32Acc"].string_value == "true"


def test_the_engine_says_batch_beam_and_context(tmp_path: Path) -> None:
    """Whatever a deployment leaves out is what the engine was built for."""
    models = rendered(tmp_path, "0.14.0")
    assert models["tensorrt_llm"].max_batch_size == models["ensemble"].max_batch_size == 8
    assert models["tensorrt_llm"].parameters["max_beam_width"].string_value == "1"
    assert models["tensorrt_llm_bls"].parameters["max_context"].string_value == "8192"


@pytest.mark.parametrize(
    ("settings", "repository", "error"),
    [
        ({}, {"max_batch_size": 64}, "repository.max_batch_size: 64, and the engine in {e} was built for 8; "
         "lower it or leave it out, or build again with max_batch_size 64"),
        ({"max_beam_width": 2}, {}, "engine.max_beam_width: 2, and the engine in {e} was built for 1; "
         "lower it or leave it out, or build again with max_beam_width 2"),
        ({}, {"max_context": 9000}, "repository.max_context: 9000, and the engine in {e} was built for 8192; "
         "lower it or leave it out, or build again with max_seq_len 9000"),
        ({"enable_kv_cache_reuse": True}, {}, "engine.enable_kv_cache_reuse: needs an engine built with "
         "use_paged_context_fmha, which this one is not; leave it out, or build with profile long-context"),
        ({"gpu_device_ids": "0"}, {}, "engine.gpu_device_ids: '0', and the engine has 2 ranks; one GPU for each"),
        ({"num_nodes": 2}, {}, "num_nodes: no config.pbtxt of this engine has such a placeholder; leave it out"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(
    settings: dict[str, Any], repository: dict[str, Any], error: str, tmp_path: Path
) -> None:
    """What would fail or be ignored at the server is one line here, with the remedy."""
    folder = write_engine(tmp_path / "engine")
    engine = TensorRtLlmSection(kind="tensorrtllm", engine_dir=folder, **settings)
    deployment = Deployment(model="m", engine=engine, repository=Repository(**repository))
    with pytest.raises(ConfigurationError, match=f"^{re.escape(error.format(e=folder))}$"):
        render(placeholders(deployment, tmp_path), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("version", "built", "plugins", "error"),
    [
        ("0.16.0", {}, {}, "the engine is of TensorRT-LLM 0.16.0, whose tensors are not known here; build it with one of "
         "0.14, 0.19, 0.20, 0.21, 1.0, 1.1, 1.2"),
        ("0.14.0", {"kv_cache_type": "CONTINUOUS"}, {"paged_kv_cache": False}, "engine.batching_strategy: in-flight "
         "batching needs an engine with gpt_attention_plugin, remove_input_padding and a paged KV cache; build it again, "
         "or give V1"),
    ],
)  # fmt: skip
def test_engines_that_cannot_be_served_so_are_refused(
    version: str, built: dict[str, Any], plugins: dict[str, Any], error: str, tmp_path: Path
) -> None:
    """An unknown version, or a build without what in-flight batching needs."""
    folder = write_engine(tmp_path / "engine", version, built=built, **plugins)
    deployment = Deployment(model="m", engine=TensorRtLlmSection(kind="tensorrtllm", engine_dir=folder))
    with pytest.raises(ConfigurationError, match=f"^{re.escape(error)}$"):
        placeholders(deployment, tmp_path)


def test_another_model_s_tokenizer_is_refused(tmp_path: Path) -> None:
    """The vocabulary of the checkpoint and the engine's differ: ids would mean other text."""
    (tmp_path / "config.json").write_text('{"vocab_size": 151936}')
    deployment = Deployment(
        model="m", engine=TensorRtLlmSection(kind="tensorrtllm", engine_dir=write_engine(tmp_path / "engine"))
    )
    with pytest.raises(ConfigurationError, match="has a vocabulary of 151936, and the engine of 152064; give the"):
        placeholders(deployment, tmp_path)


LATER: dict[str, Any] = {
    "lora_prefetch_dir": Path("/adapters"),
    "cuda_graph_mode": True,
    "cuda_graph_cache_size": 8,
    "speculative_decoding_fast_logits": False,
    "guided_decoding_backend": "xgrammar",
    "xgrammar_tokenizer_info_path": Path("/tokenizers/info.json"),
}
"""Keys of 0.19 and later."""


@pytest.mark.parametrize("version", [v for v in VERSIONS if v != "0.14.0"])
def test_keys_of_later_releases_reach_their_backend(version: str, tmp_path: Path) -> None:
    lookahead = {"lookahead_window_size": 4, "lookahead_ngram_size": 3, "lookahead_verification_set_size": 5}
    adapters = {"lora_cache_max_adapter_size": 64, "lora_cache_gpu_memory_fraction": 0.1}
    settings = LATER | lookahead | adapters | {"decoding_mode": "lookahead", "stats_check_period_ms": 50}
    parameters = rendered(tmp_path, version, **settings)["tensorrt_llm"].parameters
    for key, value in settings.items():
        spelt = str(value).lower() if isinstance(value, bool) else str(value)
        assert parameters[key].string_value == spelt, key


@pytest.mark.parametrize(
    ("mode", "key", "version"), [("medusa", "medusa_choices", "0.14.0"), ("eagle", "eagle_choices", "0.21.0")]
)
def test_a_tree_of_drafts_is_spelt_as_the_backend_reads_it(mode: str, key: str, version: str, tmp_path: Path) -> None:
    settings = {"decoding_mode": mode, key: [[0], [0, 1], [1]]}
    assert rendered(tmp_path, version, **settings)["tensorrt_llm"].parameters[key].string_value == "{0}, {0, 1}, {1}"


@pytest.mark.parametrize("key", LATER)
def test_a_key_that_the_engine_s_release_does_not_know_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=f"engine.{key}: is new in TensorRT-LLM 0.19, the engine is of 0.14; leave it out"
    ):
        rendered(tmp_path, "0.14.0", **{key: LATER[key]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoding_mode": "medusa"}, "medusa needs engine.medusa_choices"),
        ({"decoding_mode": "eagle"}, "eagle needs engine.eagle_choices"),
        ({"decoding_mode": "lookahead", "lookahead_window_size": 4}, "lookahead needs engine.lookahead_ngram_size"),
        ({"medusa_choices": [[0]]}, "is for decoding_mode medusa; give that too, or leave it out"),
        ({"decoding_mode": "medusa", "medusa_choices": [[]]}, "medusa_choices"),
    ],
)
def test_drafts_and_their_mode_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorRtLlmSection(kind="tensorrtllm", engine_dir="/e", **settings)
