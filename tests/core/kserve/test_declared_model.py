"""What a model declares, read from Triton's own messages and from its HTTP's JSON."""

from __future__ import annotations

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2

from qwen_triton.kserve.declared_model import (
    DeclaredInput,
    DeclaredModel,
    decode_model_config,
    decode_model_config_json,
)
from qwen_triton.kserve.questions import encode_model_name

CONFIG = """
name: "ensemble"
platform: "ensemble"
max_batch_size: 8
model_transaction_policy { decoupled: true }
input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "seed" data_type: TYPE_UINT64 dims: [ 1 ] optional: true }
output { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
output { name: "cum_log_probs" data_type: TYPE_FP32 dims: [ -1 ] }
ensemble_scheduling { step { model_name: "preprocessing" } step { model_name: "tensorrt_llm" } }
parameters { key: "x" value { string_value: "y" } }
"""
DECLARED = DeclaredModel(
    "ensemble",
    {"text_input": DeclaredInput("TYPE_STRING", False), "seed": DeclaredInput("TYPE_UINT64", True)},
    ("text_output", "cum_log_probs"),
    8,
    True,
    ("preprocessing", "tensorrt_llm"),
)


def test_a_configuration_is_the_same_over_grpc_and_http() -> None:
    config = text_format.Parse(CONFIG, model_config_pb2.ModelConfig())
    data = service_pb2.ModelConfigResponse(config=config).SerializeToString()
    assert decode_model_config(data) == DECLARED
    body = json_format.MessageToDict(config, preserving_proto_field_name=True)
    assert decode_model_config_json(body) == DECLARED


def test_a_small_configuration_has_no_rows_and_one_response() -> None:
    config = model_config_pb2.ModelConfig(name="m")
    expected = DeclaredModel("m", {}, (), 0)
    assert decode_model_config(service_pb2.ModelConfigResponse(config=config).SerializeToString()) == expected
    assert decode_model_config_json({"name": "m", "input": [], "output": []}) == expected


def test_every_type_of_tensor_has_triton_s_name() -> None:
    """And one that a newer server may have does not break the reader."""
    for name, number in model_config_pb2.DataType.items():
        config = model_config_pb2.ModelConfig(name="m")
        config.input.add(name="x", data_type=number)
        data = service_pb2.ModelConfigResponse(config=config).SerializeToString()
        assert decode_model_config(data).inputs["x"].dtype == name


def test_a_question_names_its_model() -> None:
    assert service_pb2.ModelConfigRequest.FromString(encode_model_name("m")).name == "m"
