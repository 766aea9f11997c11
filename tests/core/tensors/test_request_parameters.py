"""Request parameters: what is or nearly is an input is refused by name; what may be a header or another's key passes."""

from __future__ import annotations

import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.contract import BLS, INPUTS, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from qwen_triton.tensors.request_parameters import check_parameters, edit_distance

BACKEND = "is an input of tensorrt_llm with NVIDIA's backend"
LATER = "is an input of NVIDIA's backend since TensorRT-LLM 0.19"
ENSEMBLES = (
    "is an input of an ensemble with TensorRT-LLM 0.19 or newer: send it among the inputs there, or leave it out"
)
MODELS = [BLS, PREPROCESSING, TENSORRT_LLM, POSTPROCESSING]
HEADERS = """
Accept Accept-CH Accept-Charset Accept-Datetime Accept-Encoding Accept-Language Accept-Patch Accept-Post Accept-Ranges
Access-Control-Request-Headers Access-Control-Request-Method Age Allow ALPN Alt-Svc Alt-Used Authorization
Cache-Control Cache-Status Client-Cert Close Connection Content-Digest Content-Disposition Content-Encoding
Content-Language Content-Length Content-Location Content-Range Content-Type Cookie DASL Date DAV Delta-Base Depth
Destination DNT DPoP Early-Data ETag Expect Expires Forwarded From Host HTTP2-Settings If If-Match If-Modified-Since
If-None-Match If-Range IM Incremental Keep-Alive Label Last-Event-ID Last-Modified Link Location Lock-Token
Max-Forwards Meter MIME-Version Negotiate Origin OSCORE Overwrite Ping-To Position Pragma Prefer Priority
Proxy-Authorization Proxy-Status Range Referer Refresh Retry-After RTT Safe Save-Data Sec-Fetch-Dest Sec-Fetch-Mode
Sec-Fetch-Site Sec-GPC Server Signature Signature-Input SLUG SoapAction Status-URI Sunset TCN TE Topic Trailer
Transfer-Encoding TTL Upgrade Urgency User-Agent Vary Via Want-Content-Digest Warning Width X-Amzn-Trace-Id X-API-Key
X-B3-Sampled X-B3-SpanId X-B3-TraceId X-Correlation-ID X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-IP
X-Request-ID X-Tenant b3 baggage traceparent tracestate uber-trace-id grpc-accept-encoding grpc-encoding grpc-timeout
grpc-trace-bin Endpoint-Load-Metrics-Format Inference-Header-Content-Length
""".split()  # noqa: SIM905  a list of strings would be four times as long
OTHER_KEYS = [
    "session_id",
    "tenant_id",
    "user",
    "model",
    "api_key",
    "trace_id",
    "end_user_id",
    "client_id",
    "zzz",
    "prompt",
]


@pytest.mark.parametrize("model", MODELS)
def test_headers_and_keys_of_others_pass(model: str) -> None:
    """As HTTP spells a header, and in small letters, as gRPC's metadata has it."""
    check_parameters([*HEADERS, *(header.lower() for header in HEADERS), *OTHER_KEYS], model)


@pytest.mark.parametrize("model", MODELS)
def test_what_the_server_and_stocks_clients_use_passes(model: str) -> None:
    check_parameters(["id", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "Streaming"], model)


@pytest.mark.parametrize("model", MODELS)
def test_an_input_that_is_sent_as_a_parameter_is_told_where_it_belongs(model: str) -> None:
    for tensor in INPUTS[model]:
        if tensor.name.lower() == "prompt":  # an input only to be refused: as a parameter it is another's key
            continue
        if tensor.name == "priority":  # Triton's own parameter, and a header, have this name too
            continue
        assert fault(model, tensor.name) == f"{tensor.name}: is an input, not a parameter: send it among the inputs"


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (PREPROCESSING, "max_tokens", "is an input, not a parameter: send it among the inputs"),  # the ensemble's
        (PREPROCESSING, "best_of", "is an input of tensorrt_llm_bls, not of this model: ask there or leave it out"),
        (TENSORRT_LLM, "max_tokens", "is an input of ensemble, not of this model: ask there or leave it out"),
        (TENSORRT_LLM, "best_of", "is an input of tensorrt_llm_bls, not of this model: ask there or leave it out"),
        (BLS, "request_output_len", "no input has this name; did you mean max_tokens?"),
        (BLS, "streaming", "no input has this name; did you mean stream?"),
        (BLS, "stop", "no input has this name; did you mean stop_words?"),
        (BLS, "early_stopping", f"{BACKEND}, not of this model: ask there or leave it out"),
        (BLS, "draft_input_ids", f"{BACKEND}, not of this model: ask there or leave it out"),
        (PREPROCESSING, "retention_decode_priority", f"{BACKEND}, not of this model: ask there or leave it out"),
        (PREPROCESSING, "lookahead_window_size", f"{BACKEND}, not of this model: ask there or leave it out"),
        (TENSORRT_LLM, "lookahead_window_size", f"{LATER}, not of this engine: leave it out"),
        (TENSORRT_LLM, "return_perf_metrics", f"{LATER}, not of this engine: leave it out"),
        (PREPROCESSING, "return_perf_metrics", ENSEMBLES),
        (PREPROCESSING, "lora_task_id", ENSEMBLES),
    ],
)
def test_an_input_of_another_model_is_told_which(model: str, name: str, message: str) -> None:
    assert fault(model, name) == f"{name}: {message}"


@pytest.mark.parametrize("model", [BLS, PREPROCESSING])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_token", "max_tokens"),
        ("max_tokesn", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("MAX_TOKENS", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("max_completion_tokens", "max_tokens"),
        ("temprature", "temperature"),
        ("stopwords", "stop_words"),
        ("stop_sequences", "stop_words"),
        ("steam", "stream"),
        ("topK", "top_k"),
        ("seeds", "seed"),
        ("n", "num_return_sequences"),
        ("num_beams", "beam_width"),
        ("presence_penality", "presence_penalty"),
        ("text_inputs", "text_input"),
    ],
)
def test_a_near_miss_of_an_input_is_refused_with_the_remedy(model: str, name: str, meant: str) -> None:
    assert fault(model, name) == f"{name}: no input has this name; did you mean {meant}?"


@pytest.mark.parametrize("header", ["x-stream", "x-seeds", "pre-stop-words"])
def test_a_header_with_a_hyphen_is_no_misspelt_input(header: str) -> None:
    check_parameters([header], BLS)


def fault(model: str, name: str) -> str:
    with pytest.raises(InvalidRequest) as refusal:
        check_parameters(["id", name], model)
    assert refusal.value.field == name
    return str(refusal.value)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("seed", "seed", 0), ("sed", "seed", 1), ("seed", "sede", 1), ("topk", "topp", 1), ("", "abc", 3)],
)
def test_edit_distance(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == distance
