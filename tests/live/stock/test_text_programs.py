"""Text models asked as stock's programs ask: each way in, whole and streamed, one row and a batch, one sequence and two."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tritonclient.grpc import aio as triton_grpc_aio
from tritonclient.http import aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.live.stock.conftest import Expected
from tests.support.live.client import stream_grpc
from tests.support.live.servers import LiveServer
from tests.support.live.stock_programs import curl, grpc_texts, infer_texts, stack, tensors, text_inputs, three_steps

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [BLS, ENSEMBLE])
both_protocols = pytest.mark.parametrize("protocol", ["grpc", "http"])
one_row_and_two = pytest.mark.parametrize(
    "prompts", [["Born in"], ["Born in", "你好，你叫什么名字"]], ids=["row", "batch"]
)
one_answer_and_two = pytest.mark.parametrize("n", [1, 2])
TOKENS = 12


def rows(prompts: list[str], n: int | None, *, stream: bool) -> list[dict[str, Any]]:
    """Row r has the seed 10 * r; its sequence s has that plus s."""
    return [text_inputs(p, TOKENS, stream=stream, seed=10 * r, n=n) for r, p in enumerate(prompts)]


def all_texts(expected_text: Expected, prompts: list[str], n: int) -> list[list[str]]:
    return [[expected_text(p, 10 * r + s, TOKENS) for s in range(n)] for r, p in enumerate(prompts)]


@both_models
@one_row_and_two
@one_answer_and_two
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_a_decoupled_model_over_a_grpc_stream(
    decoupled_server: LiveServer, expected_text: Expected, model: str, prompts: list[str], n: int, streaming: bool
) -> None:
    """A response for each sequence of each row, or for each piece of one; the indexes say which."""
    texts = grpc_texts(decoupled_server, model, rows(prompts, n, stream=streaming), n=n, streaming=streaming)
    assert texts == all_texts(expected_text, prompts, n)


@both_models
@one_row_and_two
def test_a_whole_answer_is_one_response_for_each_sequence(
    decoupled_server: LiveServer, model: str, prompts: list[str]
) -> None:
    """Each has one text, and batch_index and sequence_index of one element."""
    sent = [
        {"text_input": p, "max_tokens": TOKENS, "num_return_sequences": 2, "random_seed": 10 * r}
        for r, p in enumerate(prompts)
    ]
    responses = stream_grpc(decoupled_server, model, *sent)
    places = sorted((response["batch_index"], response["sequence_index"]) for response in responses)
    assert places == [(r, s) for r in range(len(prompts)) for s in (0, 1)]
    assert all(isinstance(response["text_output"], str) for response in responses)


@both_models
@both_protocols
@one_row_and_two
@one_answer_and_two
def test_a_model_that_answers_once(
    whole_server: LiveServer, expected_text: Expected, model: str, protocol: str, prompts: list[str], n: int
) -> None:
    """All texts in one line, row after row."""
    texts = infer_texts(whole_server, model, stack(rows(prompts, n, stream=False)), protocol)
    assert texts == [text for row in all_texts(expected_text, prompts, n) for text in row]


@both_models
def test_a_model_that_answers_once_over_a_grpc_stream(
    whole_server: LiveServer, expected_text: Expected, model: str
) -> None:
    texts = grpc_texts(whole_server, model, rows(["Born in"], None, stream=False))
    assert texts == [[expected_text("Born in", 0, TOKENS)]]


@both_models
@pytest.mark.parametrize("server", ["decoupled_server", "whole_server"])
def test_curl(request: pytest.FixtureRequest, expected_text: Expected, model: str, server: str) -> None:
    """The blog's body, with a seed."""
    body = {"text_input": "你好", "max_tokens": TOKENS, "bad_words": "", "stop_words": "", "random_seed": 3}
    (answer,) = curl(request.getfixturevalue(server), model, "generate", **body)
    assert answer["text_output"] == expected_text("你好", 3, TOKENS)


@both_models
@one_answer_and_two
def test_curl_streamed(decoupled_server: LiveServer, expected_text: Expected, model: str, n: int) -> None:
    body = {"text_input": "你好", "max_tokens": TOKENS, "stream": True, "random_seed": 3, "num_return_sequences": n}
    texts = [""] * n
    for event in curl(decoupled_server, model, "generate_stream", **body):
        texts[event.get("sequence_index", 0)] += event["text_output"]
    assert texts == [expected_text("你好", 3 + s, TOKENS) for s in range(n)]


@both_models
def test_two_whole_answers_by_curl(
    decoupled_server: LiveServer, whole_server: LiveServer, expected_text: Expected, model: str
) -> None:
    """generate takes one response, as with stock, and generate_stream both; a model that answers once has both in one."""
    body = {"text_input": "你好", "max_tokens": TOKENS, "random_seed": 3, "num_return_sequences": 2}
    both = [expected_text("你好", 3 + s, TOKENS) for s in range(2)]
    (refusal,) = curl(decoupled_server, model, "generate", **body)
    assert refusal["error"].startswith("generate expects model to produce exactly 1 response, use generate stream")
    events = curl(decoupled_server, model, "generate_stream", **body)
    assert {event["sequence_index"]: event["text_output"] for event in events} == dict(enumerate(both))
    (answer,) = curl(whole_server, model, "generate", **body)
    assert answer["text_output"] == both


@both_models
def test_a_stream_from_a_model_that_answers_once_is_refused(whole_server: LiveServer, model: str) -> None:
    with pytest.raises(InferenceServerException, match="stream: this server answers whole"):
        grpc_texts(whole_server, model, rows(["Born in"], None, stream=True), streaming=True)


@both_protocols
def test_three_models_by_hand_say_what_the_ensemble_says(whole_server: LiveServer, protocol: str) -> None:
    by_hand = three_steps(whole_server, "Born in", TOKENS, protocol)
    (ensemble,) = infer_texts(whole_server, ENSEMBLE, text_inputs("Born in", TOKENS, stream=False, seed=7), protocol)
    assert by_hand == ensemble != ""


@both_models
def test_tritonclient_s_asyncio_clients(
    decoupled_server: LiveServer, whole_server: LiveServer, expected_text: Expected, model: str
) -> None:
    """Streamed over gRPC, whole over gRPC and HTTP."""
    wanted = expected_text("Born in", 0, TOKENS)
    whole, streamed = (text_inputs("Born in", TOKENS, stream=stream, seed=0) for stream in (False, True))

    async def sent() -> tuple[str, str, str]:
        async with triton_grpc_aio.InferenceServerClient(decoupled_server.grpc) as client:

            async def requests() -> Any:
                yield {"model_name": model, "inputs": tensors(triton_grpc_aio, streamed), "request_id": "1"}

            pieces = ""
            async for result, error in client.stream_infer(requests()):
                assert error is None
                pieces += result.as_numpy("text_output")[0].decode()
        async with triton_grpc_aio.InferenceServerClient(whole_server.grpc) as client:
            result = await client.infer(model, tensors(triton_grpc_aio, whole))
            over_grpc = result.as_numpy("text_output")[0].decode()
        async with triton_http_aio.InferenceServerClient(whole_server.http) as http_client:
            result = await http_client.infer(model, tensors(triton_http_aio, whole))
            return pieces, over_grpc, result.as_numpy("text_output")[0].decode()

    assert asyncio.run(sent()) == (wanted, wanted, wanted)
