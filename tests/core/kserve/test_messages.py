"""KServe's messages against those of Triton's own client: the same bytes mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from qwen_triton.kserve.messages import decode_infer_response, decode_stream_response, encode_infer_request


def test_a_request_says_the_same_to_tritons_own_classes() -> None:
    """Every type of tensor and of parameter."""
    arrays = {
        "ids": np.array([[5, 6, 7]], np.int32),
        "text": np.array([["你好".encode(), b""]], object),
        "flag": np.array([[True]]),
        "seed": np.array([[2**64 - 1]], np.uint64),
        "long": np.array([[-1]], np.int64),
        "bias": np.array([[0.5]], np.float32),
        "table": np.array([[0.5]], np.float16),
    }
    parameters = {"triton_enable_empty_final_response": True, "priority": 3, "who": "me"}
    data = encode_infer_request("tensorrt_llm", arrays, ("a", "b"), "42", parameters)
    message = service_pb2.ModelInferRequest.FromString(data)
    assert (message.model_name, message.id) == ("tensorrt_llm", "42")
    assert [(i.name, i.datatype, list(i.shape)) for i in message.inputs] == [
        ("ids", "INT32", [1, 3]),
        ("text", "BYTES", [1, 2]),
        ("flag", "BOOL", [1, 1]),
        ("seed", "UINT64", [1, 1]),
        ("long", "INT64", [1, 1]),
        ("bias", "FP32", [1, 1]),
        ("table", "FP16", [1, 1]),
    ]
    assert message.raw_input_contents[1] == b"\6\0\0\0" + "你好".encode() + b"\0\0\0\0"
    assert message.raw_input_contents[3] == b"\xff" * 8
    assert [o.name for o in message.outputs] == ["a", "b"]
    assert message.parameters["triton_enable_empty_final_response"].bool_param is True
    assert message.parameters["priority"].int64_param == 3
    assert message.parameters["who"].string_param == "me"


def response(final: bool | None) -> service_pb2.ModelInferResponse:
    """As the server sends it, with what is not read beside what is."""
    message = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="42")
    message.parameters["other"].string_param = "x"
    if final is not None:
        message.parameters["triton_final_response"].bool_param = final
    for name, raw in {"output_ids": b"\1\0\0\0\2\0\0\0", "empty": b""}.items():
        message.outputs.add(name=name, datatype="INT32", shape=[1, 1, 2]).parameters["p"].int64_param = 1
        message.raw_output_contents.append(raw)
    return message


@pytest.mark.parametrize(("sent", "final"), [(True, True), (False, False), (None, False)])
def test_a_response_is_read_as_tritons_own_classes_write_it(sent: bool | None, final: bool) -> None:
    message = service_pb2.ModelStreamInferResponse(infer_response=response(sent))
    read = decode_stream_response(message.SerializeToString())
    assert read == ("42", {"output_ids": b"\1\0\0\0\2\0\0\0", "empty": b""}, final, "")
    assert decode_infer_response(response(sent).SerializeToString()) == read


def test_an_error_has_the_id_of_its_request() -> None:
    message = service_pb2.ModelStreamInferResponse(error_message="full")
    message.infer_response.id = "7"
    assert decode_stream_response(message.SerializeToString()) == ("7", {}, False, "full")
