"""Bad input is the caller's fault, said with the field's name; the others are answered and the models stay healthy."""

from __future__ import annotations

import itertools
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from tests.live.conftest import VOCABULARY, Serve
from tests.support.live.client import Refused, generate, infer_grpc, stream_arrays, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [ENSEMBLE, BLS])
LONG = "hello " * 40_000
BAD: list[tuple[dict[str, Any], str]] = [
    ({"text_input": ""}, "text_input: the prompt is empty"),
    ({"text_input": LONG}, "text_input: This model's maximum context length is 32768 tokens."),
    ({"text_input": "x", "max_tokens": 0}, "max_tokens: must be in"),
    ({"text_input": "x", "max_tokens": -7}, "max_tokens: must be in"),
    ({"text_input": "x", "max_tokens": 40_000}, "max_tokens: 40000 is too large"),
    ({"text_input": "x", "temperature": float("nan")}, "temperature: must be in"),
    ({"text_input": "x", "temperature": -1.0}, "temperature: must be in"),
    ({"text_input": "x", "top_p": float("nan")}, "top_p: must be in"),
    ({"text_input": "x", "top_p": 1.5}, "top_p: must be in"),
    ({"text_input": "x", "top_k": -1}, "top_k: must be in"),
    ({"text_input": "x", "min_p": float("inf")}, "min_p: must be in"),
    ({"text_input": "x", "repetition_penalty": 0.0}, "repetition_penalty: must be in"),
    ({"text_input": "x", "num_return_sequences": 0}, "num_return_sequences: must be in"),
    ({"text_input": "x", "beam_width": 1000}, "beam_width: must be in"),
    ({"text_input": "x", "min_length": 5, "max_tokens": 3}, "min_tokens: must not be larger than max_tokens"),
    ({"text_input": "x", "seed": 1, "random_seed": 2}, "random_seed: is another name of seed"),
    ({"text_input": "x", "top_logprobs": 2}, "top_logprobs: needs return_log_probs"),
    ({"text_input": "x", "end_id": 10**7}, "end_id: token id 10000000 is not in"),
    ({"text_input": "x", "stop_token_ids": [-1]}, "stop_token_ids: token id -1 is not in"),
    ({"text_input": "x", "embedding_bias_words": ["x"]}, "embedding_bias_weights: has 0 values for 1 words"),
    ({"text_input": "x", "decoder_text_input": "x"}, "decoder_text_input: Qwen has no encoder-decoder form"),
    ({"text_input": "x", "return_context_logits": True}, "return_context_logits: logits are not returned"),
    ({"text_input": "x", "prompt_format": "xml"}, "prompt_format: expected raw or chat, got 'xml'"),
    ({"text_input": "x", "max_token": 3}, "max_token: no input has this name; did you mean max_tokens"),
    ({"messages": "[{"}, "messages: is not valid JSON"),
    ({"messages": "[" * 100_000}, "messages: is not valid JSON"),
    ({"messages": '{"role": "user"}'}, "messages: expected a list as JSON, got dict"),
    ({"messages": "[]"}, "messages: must be a list of one or more messages"),
    ({"messages": '[{"role": "robot", "content": "x"}]'}, r"messages\[0\].role: must be one of system, user"),
    ({"messages": '[{"role": "user", "content": "x"}]', "tools": "nope"}, "tools: is not valid JSON"),
    ({"text_input": "x", "messages": '[{"role": "user", "content": "x"}]'}, "text_input: a prompt is text, messages"),
    (
        {"text_input": "x", "prompt_format": "chat", "chat_template_kwargs": "[]"},
        "chat_template_kwargs: expected an obj",
    ),
    ({"max_tokens": 3}, "text_input: is missing; a prompt is text, messages or token ids"),
]


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """Requests wait 5 ms for company before the engine, so that good and bad ones reach it in one batch."""
    repository = {"max_queue_delay_microseconds": 5000}
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay"}, "repository": repository})


def healthy(server: LiveServer) -> bool:
    with urllib.request.urlopen(f"http://{server.http}/v2/health/ready", timeout=10) as reply:
        return bool(reply.status == 200)


@both_models
@pytest.mark.parametrize(("asked", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_is_wrong_is_named(server: LiveServer, model: str, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        generate(server, model, **asked)
    assert refusal.value.status == 400
    assert "Traceback" not in str(refusal.value)


@both_models
def test_a_row_at_fault_is_numbered(server: LiveServer, model: str) -> None:
    rows = [{"text_input": "x", "max_tokens": tokens} for tokens in (3, -1, 3)]
    with pytest.raises(Refused, match=r"max_tokens: must be in .*\(row 1\)"):
        stream_grpc(server, model, *rows)


@both_models
def test_a_row_that_preprocessing_refuses_is_numbered(server: LiveServer, model: str) -> None:
    rows = [{"text_input": "x", "end_id": end} for end in (3, 10**7)]
    with pytest.raises(Refused, match=r"end_id: token id 10000000 is not in .*\(row 1\)$"):
        stream_grpc(server, model, *rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input_lengths": 2}, {"input_lengths": 3}], "input_lengths: is 3 where input_ids has 2 (row 1)"),
        ([{"request_output_len": 3}, {"request_output_len": 40_000}], "request_output_len: prompt and answer would"),
        (
            [{"lora_task_id": 0}, {"lora_task_id": 5}],
            "lora_task_id: adapters are chosen by name here: lora_name; leave it out",
        ),
    ],
    ids=["decoded", "too long", "unsupported"],
)
def test_a_row_at_fault_is_numbered_by_the_engine_model(
    server: LiveServer, rows: list[dict[str, Any]], message: str
) -> None:
    asked = {"input_ids": [1, 2], "input_lengths": 2, "request_output_len": 3}
    with pytest.raises(Refused) as refusal:
        stream_grpc(server, TENSORRT_LLM, *({**asked, **row} for row in rows))
    assert str(refusal.value).startswith(message)
    assert str(refusal.value).endswith(" (row 1)")


def test_a_row_that_the_engine_refuses_is_numbered(openvino_server: LiveServer) -> None:
    """In its own process, for the one sequence that it is given; the field is the engine model's."""
    asked = {"input_ids": [1, 2], "input_lengths": 2, "request_output_len": 3}
    with pytest.raises(Refused) as refusal:
        stream_grpc(openvino_server, TENSORRT_LLM, asked, {**asked, "input_ids": [1, -5]})
    assert str(refusal.value) == f"input_ids: -5 is outside the vocabulary (0 to {VOCABULARY - 1}) (row 1)"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"TOKENS_BATCH": [[1, 2], [3, 4]], "SEQUENCE_LENGTH": [2]}, "SEQUENCE_LENGTH: has shape [1, 1] where"),
        ({"TOKENS_BATCH": [[1, 2, 3]], "SEQUENCE_LENGTH": [-1]}, "SEQUENCE_LENGTH: is -1 where TOKENS_BATCH has 3 ids"),
        ({"TOKENS_BATCH": [[1, 2, 3]], "SEQUENCE_LENGTH": [5]}, "SEQUENCE_LENGTH: is 5 where TOKENS_BATCH has 3 ids"),
        ({"TOKENS_BATCH": [[1, 999_999, 3]], "SEQUENCE_LENGTH": [3]}, "TOKENS_BATCH: token id 999999 is not in [0, "),
    ],
)
def test_postprocessing_alone_refuses_too(server: LiveServer, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refusal:
        infer_grpc(server, POSTPROCESSING, asked)
    assert (refusal.value.status, str(refusal.value)[: len(message)]) == ("StatusCode.INVALID_ARGUMENT", message)


@both_models
@pytest.mark.parametrize("name", ["text_input", "messages", "stop_words"])
def test_bytes_that_are_no_text_are_refused(server: LiveServer, model: str, name: str) -> None:
    arrays = {"messages": b"[]"} if name == "messages" else {"text_input": b"ok"}
    sent = {key: np.array([[value]], dtype=object) for key, value in (arrays | {name: b"a\xff"}).items()}
    with pytest.raises(Refused, match=f"{name}: is not valid UTF-8 at byte 1"):
        stream_arrays(server, model, sent)


@pytest.mark.parametrize(
    ("model", "array", "message"),
    [
        (BLS, np.zeros((1, 2, 2), np.int32), "input_ids"),
        (BLS, np.zeros((1,), np.int32), "input_ids"),
        (BLS, np.zeros((1, 2), np.float32), "input_ids"),
        (TENSORRT_LLM, np.zeros((1, 2, 2), np.int32), "input_ids"),
    ],
    ids=["too many dimensions", "too few dimensions", "floats", "engine"],
)
def test_a_wrong_shape_or_type_is_refused(server: LiveServer, model: str, array: Any, message: str) -> None:
    with pytest.raises(Refused, match=message):
        stream_arrays(server, model, {"input_ids": array})


def test_preprocessing_alone_refuses_too(server: LiveServer) -> None:
    with pytest.raises(Refused, match="text_input: the prompt is empty") as refusal:
        infer_grpc(server, PREPROCESSING, {"QUERY": ""})
    assert refusal.value.status == "StatusCode.INVALID_ARGUMENT"


@both_models
def test_good_requests_in_the_same_batch_are_answered(server: LiveServer, model: str) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return str(generate(server, model, text_input=f"good {number}")["text_output"])
        with pytest.raises(Refused, match="top_k: must be in"):
            generate(server, model, text_input=f"bad {number}", top_k=-1)
        return "refused"

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(48)))
    assert answers == [f"good {n}" if n % 2 else "refused" for n in range(48)]


def test_after_a_thousand_bad_requests_the_models_are_healthy(server: LiveServer) -> None:
    def ask(number: int, model: str, bad: tuple[dict[str, Any], str]) -> int | str:
        try:
            generate(server, model, **bad[0])
        except Refused as refusal:
            return refusal.status
        return f"request {number} was answered: {bad[1]}"

    short = [bad for bad in BAD if bad[0].get("text_input") != LONG]
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(1000), itertools.cycle((ENSEMBLE, BLS, ENSEMBLE)), itertools.cycle(short)))
    assert statuses == [400] * 1000
    assert healthy(server)
    for model in (ENSEMBLE, BLS):
        assert generate(server, model, text_input="still here")["text_output"] == "still here"
