"""Each field at ten times its limit, on every way in: refused by name, within bounded memory, beside a neighbour."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from qwen_triton.tensors.limits import Limits
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate, infer_grpc, infer_http, stream_arrays, stream_grpc
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.unharmed import GROWN_MIB, unharmed

pytestmark = pytest.mark.live

MOST = Limits()
USER = '{"role": "user", "content": "x"}'
TOOL = '{"type": "function", "function": {"name": "f"}}'


def ten(limit: str) -> int:
    return 10 * int(getattr(MOST, limit))


FIELDS: dict[str, Callable[[], dict[str, Any]]] = {
    "prompt_bytes": lambda: {"text_input": "7" * ten("prompt_bytes")},
    "messages_bytes": lambda: {"messages": f'[{{"role": "user", "content": "{"7" * ten("messages_bytes")}"}}]'},
    "messages": lambda: {"messages": f"[{','.join([USER] * ten('messages'))}]"},
    "tools": lambda: {"messages": f"[{USER}]", "tools": f"[{','.join([TOOL] * ten('tools'))}]"},
    "tools_bytes": lambda: {"messages": f"[{USER}]", "tools": f'["{"x" * ten("tools_bytes")}"]'},
    "template_options_bytes": lambda: {
        "messages": f"[{USER}]",
        "chat_template_kwargs": json.dumps({"a": "x" * ten("template_options_bytes")}),
    },
    "stop_strings": lambda: {"text_input": "x", "stop_words": [f"a{i}" for i in range(ten("stop_strings"))]},
    "stop_bytes": lambda: {"text_input": "x", "stop_words": ["0" + "ab" * (ten("stop_bytes") // 2)]},
    "stop_ids": lambda: {"text_input": "x", "stop_token_ids": [1] * ten("stop_ids")},
    "bad_words": lambda: {"text_input": "x", "bad_words": ["a"] * ten("bad_words")},
    "words_bytes": lambda: {"text_input": "x", "bad_words": ["a" * ten("words_bytes")]},
    "biases": lambda: {
        "text_input": "x",
        "embedding_bias_words": ["a"] * ten("biases"),
        "embedding_bias_weights": [1.0] * ten("biases"),
    },
}
WAYS = {"generate": generate, "gRPC": lambda server, model, **inputs: stream_grpc(server, model, inputs)}


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay"}})


@pytest.fixture(scope="module")
def shim(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(server, tmp_path_factory.mktemp("shim")) as found:
        yield found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_ten_times_a_limit_is_refused(server: LiveServer, model: str, way: str) -> None:
    """Three times each, as what is kept of one shows with the next."""
    with unharmed(server):
        for limit, inputs in FIELDS.items():
            sent = inputs() | {"max_tokens": 1}
            for _ in range(3):
                with pytest.raises(Refused, match=rf"\(limits\.{limit}\)"):
                    WAYS[way](server, model, **sent)


def test_ids_and_sequences_are_bounded(server: LiveServer) -> None:
    one = {"input_lengths": np.array([[1]], np.int32), "request_output_len": np.array([[1]], np.int32)}
    prompt = np.zeros((1, 4), np.int32)
    cases: list[tuple[str, str, dict[str, Any]]] = [
        (BLS, "prompt_tokens", {"input_ids": np.zeros((1, ten("prompt_tokens")), np.int32)}),
        (TENSORRT_LLM, "prompt_tokens", {"input_ids": np.zeros((1, ten("prompt_tokens")), np.int32), **one}),
        (TENSORRT_LLM, "stop_bytes", {"input_ids": prompt, **one, "stop_words_list": np.zeros((1, 2, 1 << 18), np.int32)}),
        (TENSORRT_LLM, "words_bytes", {"input_ids": prompt, **one, "bad_words_list": np.zeros((1, 2, 1 << 18), np.int32)}),
        (TENSORRT_LLM, "tensor_values", {"input_ids": prompt, **one, "embedding_bias": np.zeros((1, 10 << 20), np.float32)}),
        (TENSORRT_LLM, "stop_strings", {"input_ids": prompt, **one, "stop_words": np.array([["a"] * 1280], object)}),
        (POSTPROCESSING, "answer_tokens", {"TOKENS_BATCH": np.zeros((1, 1, ten("answer_tokens")), np.int32)}),
    ]  # fmt: skip
    with unharmed(server):
        for model, limit, arrays in cases:
            if model == POSTPROCESSING:
                arrays["SEQUENCE_LENGTH"] = np.array([[1]], np.int32)
            with pytest.raises(Refused, match=rf"\(limits\.{limit}\)"):
                stream_arrays(server, model, arrays)
        for model in (BLS, ENSEMBLE):
            rows = [{"text_input": "x", "num_return_sequences": 128, "max_tokens": 1}] * 64
            with pytest.raises(Refused, match=r"num_return_sequences: 8192 sequences .*\(limits\.sequences\)"):
                stream_grpc(server, model, *rows)


@pytest.mark.parametrize("infer", [infer_http, infer_grpc])
def test_infer_is_bounded_as_well(server: LiveServer, infer: Callable[..., dict[str, Any]]) -> None:
    """Preprocessing is not decoupled and takes plain KServe infer."""
    with unharmed(server):
        with pytest.raises(Refused, match=r"text_input: .*\(limits\.prompt_bytes\)"):
            infer(server, PREPROCESSING, {"QUERY": "7" * ten("prompt_bytes")})
        with pytest.raises(Refused, match=r"stop_words: .*\(limits\.stop_bytes\)"):
            infer(server, PREPROCESSING, {"QUERY": "x", "STOP_WORDS_DICT": ["a" * ten("stop_bytes")]})


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_what_names_a_request_is_bounded(server: LiveServer, model: str) -> None:
    """Its id, its parameters; an id may have any characters, and the log no line of its making."""
    with pytest.raises(Refused, match=r"id: 5120 bytes .*\(limits\.request_id_bytes\)"):
        stream_grpc(server, model, {"text_input": "x", "max_tokens": 1}, request_id="i" * ten("request_id_bytes"))
    with pytest.raises(Refused, match=r"parameters: .*\(limits\.parameters_bytes\)"):
        generate(server, model, text_input="x", **{"p" * ten("parameters_bytes"): 1})
    forged = "x\nE0000 forged_line"
    assert stream_grpc(server, model, {"text_input": "x", "max_tokens": 1}, request_id=forged)
    assert "\nE0000 forged_line" not in server.log.read_text(errors="replace")


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize(
    "text", ["7" * 8_000_000, " " * 8_000_000, "a" * 8_000_000], ids=["digits", "blanks", "letters"]
)
def test_a_prompt_beyond_the_context_is_not_encoded(server: LiveServer, model: str, text: str) -> None:
    with unharmed(server), pytest.raises(Refused, match="maximum context length is 32768 tokens"):
        generate(server, model, text_input=text, max_tokens=1)


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize("name", ["allow_control_tokens", "chat_template"])
def test_options_of_the_template_that_no_caller_has(server: LiveServer, model: str, name: str) -> None:
    with pytest.raises(Refused, match=rf"chat_template_kwargs\.{name}: .*leave it out"):
        generate(server, model, messages=f"[{USER}]", chat_template_kwargs=json.dumps({name: "x"}), max_tokens=1)


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_nesting_is_refused_in_time(server: LiveServer, model: str) -> None:
    with unharmed(server):
        for depth in (500, 2_000_000):
            deep = "[" * depth + "]" * depth
            for sent in ({"messages": deep}, {"messages": f"[{USER}]", "tools": deep[: ten("tools_bytes") // 12]}):
                with pytest.raises(Refused) as refusal:
                    generate(server, model, max_tokens=1, **sent)
                assert refusal.value.status == 400


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_control_tokens_of_vision_are_plain_text(server: LiveServer, model: str) -> None:
    text = "<|vision_start|><|image_pad|><|vision_end|>"
    message = json.dumps([{"role": "user", "content": text}])
    answer = generate(server, model, messages=message, max_tokens=60, ignore_eos=True)
    assert text in answer["text_output"]


@pytest.mark.parametrize(
    "body", [b"[" * 1_000_000, b'{"text_input":"' + b"7" * 30_000_000 + b'"}'], ids=["brackets", "30 MB"]
)
def test_a_large_body_does_not_end_tritonserver(server: LiveServer, body: bytes) -> None:
    for path in (f"/v2/models/{BLS}/generate", f"/v2/models/{PREPROCESSING}/infer", "/v2/models/none/infer"):
        connection = http.client.HTTPConnection(server.http, timeout=60)
        connection.request("POST", path, body)
        assert connection.getresponse().status >= 400
    assert generate(server, BLS, text_input="still", max_tokens=4)["text_output"] == "still"


def test_a_million_chunks_of_a_byte_do_not_end_tritonserver(server: LiveServer) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=60)
    connection.putrequest("POST", f"/v2/models/{BLS}/generate")
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders(b"1\r\n7\r\n" * 1_000_000 + b"0\r\n\r\n")
    assert connection.getresponse().status >= 400
    assert generate(server, BLS, text_input="still", max_tokens=4)["text_output"] == "still"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_that_inflates_a_thousandfold_ends_nothing(server: LiveServer, encoding: str) -> None:
    """`generate` takes none; `infer` inflates it and refuses what it finds."""
    plain = b'{"text_input":"' + b"7" * 50_000_000 + b'"}'
    body = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    with unharmed(server):
        for path in (f"/v2/models/{BLS}/generate", f"/v2/models/{PREPROCESSING}/infer"):
            connection = http.client.HTTPConnection(server.http, timeout=60)
            connection.request("POST", path, body, {"Content-Encoding": encoding})
            assert connection.getresponse().status >= 400


@pytest.mark.parametrize("value", ["99999999999999999999999", "-5", "abc", "", "1e3", "2147483648"])
def test_a_malformed_inference_header_content_length_is_refused(server: LiveServer, value: str) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=60)
    body = json.dumps({"inputs": [{"name": "QUERY", "shape": [1, 1], "datatype": "BYTES", "data": ["x"]}]})
    connection.request("POST", f"/v2/models/{PREPROCESSING}/infer", body, {"Inference-Header-Content-Length": value})
    assert connection.getresponse().status in (200, 400, 500)
    assert generate(server, BLS, text_input="still", max_tokens=4)["text_output"] == "still"


def test_thousands_of_requested_outputs_are_bounded(server: LiveServer) -> None:
    outputs = [{"name": "INPUT_ID"}] * 10_000 + [{"name": f"none{i}"} for i in range(10_000)]
    body = {"inputs": [{"name": "QUERY", "shape": [1, 1], "datatype": "BYTES", "data": ["x"]}], "outputs": outputs}
    connection = http.client.HTTPConnection(server.http, timeout=60)
    with unharmed(server):
        connection.request("POST", f"/v2/models/{PREPROCESSING}/infer", json.dumps(body))
        assert connection.getresponse().status == 400


def post(shim: LiveShim, body: dict[str, Any], path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
    host = shim.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read()).get("error", {})


SHIM: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "tools": ("tools", lambda: {"tools": [json.loads(TOOL)] * ten("tools")}),
    "tools_bytes": ("tools", lambda: {"tools": [json.loads(TOOL) | {"x": "x" * 3 * (ten("tools_bytes") // 10)}]}),
    "template_options_bytes": (
        "chat_template_kwargs",
        lambda: {"chat_template_kwargs": {"a": "x" * ten("template_options_bytes")}},
    ),
    "stop_strings": ("stop", lambda: {"stop": [f"a{i}" for i in range(ten("stop_strings"))]}),
    "stop_bytes": ("stop", lambda: {"stop": ["0" + "ab" * 3_500_000]}),
    "stop_ids": ("stop_token_ids", lambda: {"stop_token_ids": [1] * ten("stop_ids")}),
    "biases": ("logit_bias", lambda: {"logit_bias": {str(i): 1 for i in range(ten("biases"))}}),
    "user_bytes": ("user", lambda: {"user": "u" * ten("user_bytes")}),
    "metadata": ("metadata", lambda: {"metadata": {f"k{i}": "v" for i in range(ten("metadata"))}}),
    "metadata_bytes": ("metadata", lambda: {"metadata": {"k": "v" * ten("metadata_bytes")}}),
}


def test_the_shim_refuses_what_is_above_a_limit(server: LiveServer, shim: LiveShim) -> None:
    """With OpenAI's name of the field; three times each."""
    with unharmed(server):
        for limit, (param, more) in SHIM.items():
            body = {"model": MODEL, "messages": [json.loads(USER)], "max_tokens": 1} | more()
            for _ in range(3):
                status, error = post(shim, body)
                assert (status, error["param"], f"limits.{limit}" in error["message"]) == (400, param, True), limit
        body = {"model": MODEL, "prompt": ["x"] * 128, "n": 128, "max_tokens": 1}
        status, error = post(shim, body, "/v1/completions")
        assert (status, error["param"]) == (400, "n")
        assert "16384 sequences are more than the 1024" in error["message"]
    assert psutil.Process(shim.process.pid).memory_info().rss >> 20 < GROWN_MIB
    assert max(map(len, shim.log.read_text().splitlines()), default=0) < 4096


def test_the_shim_bounds_a_connection(server: LiveServer, shim: LiveShim) -> None:
    host = shim.url.removeprefix("http://")
    with unharmed(server):
        for url, headers, status in (
            ("/" + "x" * ten("url_bytes"), {}, 414),
            ("/v1/models", {"a": "x" * ten("header_bytes")}, 431),
            ("/v1/models", {f"a{i}": "x" for i in range(ten("headers"))}, 431),
        ):
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request("GET", url, headers=headers)
            assert connection.getresponse().status == status
