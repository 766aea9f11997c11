"""The engine model asked as stock's programs ask it: ids in, ids out, each way in; and their stops."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, together
from tests.support.live.servers import LiveServer
from tests.support.live.stock_programs import (
    WAIT_S,
    StoppedIds,
    grpc_ids,
    id_inputs,
    infer_ids,
    leave,
    send_stop,
    stack,
    stop_inputs,
    stopped_whole,
    text_inputs,
)
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
TOKENS = 12
PROMPTS = [[5, 6, 7], [40, 50]]
Ids = Callable[..., list[int]]


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS], ids=["row", "batch"])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_a_decoupled_engine_model(
    decoupled_server: LiveServer, expected_ids: Ids, prompts: list[list[int]], n: int, streaming: bool
) -> None:
    """Every response says its row and its sequence, also where there is only one."""
    width = max(map(len, prompts))
    rows = [
        id_inputs([*p, *[0] * (width - len(p))], TOKENS, stream=streaming, seed=10 * r, n=n)
        | {"input_lengths": np.array([[len(p)]], np.int32)}
        for r, p in enumerate(prompts)
    ]
    found = grpc_ids(decoupled_server, rows, n=n, streaming=streaming)
    assert found == [[expected_ids(p, 10 * r + s, TOKENS) for s in range(n)] for r, p in enumerate(prompts)]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("n", [1, 2])
def test_an_engine_model_that_answers_once(whole_server: LiveServer, expected_ids: Ids, protocol: str, n: int) -> None:
    """Rows and their sequences in one array; the parameter `Streaming` beside the inputs changes nothing."""
    rows = [id_inputs([5, 6 + r], TOKENS, stream=False, seed=10 * r, n=n) for r in range(2)]
    found = infer_ids(whole_server, stack(rows), protocol)
    assert found == [expected_ids([5, 6 + r], 10 * r + s, TOKENS) for r in range(2) for s in range(n)]


def test_a_stop_with_streaming_beside_it(decoupled_server: LiveServer, expected_ids: Ids) -> None:
    """The request ends with what was generated; the stop itself is answered without outputs."""
    received = StoppedIds(decoupled_server, [5, 6, 7], 4000)
    assert received.errors == []
    assert (received.finish, received.without_outputs) == ("cancelled", 1)
    assert 0 < len(received.ids) < 1000
    assert received.ids == expected_ids([5, 6, 7], 7, 4000)[: len(received.ids)]
    assert becomes(decoupled_server.is_free, WAIT_S)


def test_a_stop_of_a_whole_answer(whole_server: LiveServer) -> None:
    """Both calls are answered: the request with what was generated, the stop without outputs."""
    answers, errors = stopped_whole(whole_server, [5, 6, 7], 4000, lambda: whole_server.runs(1))
    assert errors == []
    ids = [answer.as_numpy("output_ids") for answer in answers]
    (told,) = [array for array in ids if array is not None]
    assert sum(array is None for array in ids) == 1
    assert told.shape[2] < 4000
    assert becomes(whole_server.is_free, WAIT_S)


@pytest.mark.parametrize("beside", [{"Streaming": True}, {"max_token": 3, "x": "y"}], ids=["stock", "unknown"])
def test_a_stop_is_never_refused_for_what_is_beside_it(decoupled_server: LiveServer, beside: dict[str, int]) -> None:
    """Neither parameters nor inputs that would be refused anywhere else; it ends a request to the ensemble."""
    running = Grpc(decoupled_server, ENSEMBLE, {"text_input": "hello", "max_tokens": 4000, "stream": True}, "4711")
    stop = {**stop_inputs(), "runtime_top_p_decay": np.array([[0.5]], np.float32)}
    with ThreadPoolExecutor() as pool:
        listening = pool.submit(together, [running])
        assert becomes(lambda: decoupled_server.runs(1), WAIT_S)
        answer = send_stop(decoupled_server, "4711", stop, beside)
        (received,) = listening.result(WAIT_S)
    assert answer.as_numpy("output_ids") is None
    assert received.finish == "cancelled"
    assert len(received.pieces) < 4000


def test_a_stop_without_an_id_is_told_what_it_lacks(decoupled_server: LiveServer) -> None:
    answer = send_stop(decoupled_server, "", stop_inputs(), {})
    assert str(answer) == "stop: needs the request id of the request to be stopped"


@pytest.mark.parametrize("model", [BLS, ENSEMBLE, TENSORRT_LLM])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_client_that_leaves_frees_the_engine(decoupled_server: LiveServer, model: str, protocol: str) -> None:
    """Long before the 4,000 tokens are there, which take 20 s."""
    if model == TENSORRT_LLM:
        arrays = id_inputs([5, 6, 7], 4000, stream=True, seed=7)
    else:
        arrays = text_inputs("Born in", 4000, stream=True, seed=7)
    leave(decoupled_server, model, arrays, protocol)
    assert becomes(decoupled_server.is_free, 10.0)


@pytest.mark.parametrize("ids", [[0, 2**31 - 1], [200_000, 151_936]])
def test_the_replay_engine_takes_any_id(whole_server: LiveServer, expected_ids: Ids, ids: list[int]) -> None:
    """It has no model, and stock's benchmark draws ids from all of int32."""
    assert infer_ids(whole_server, id_inputs(ids, 4, stream=False, seed=1), "grpc") == [expected_ids(ids, 1, 4)]


def test_no_prompt_is_told_so(decoupled_server: LiveServer) -> None:
    for model in (BLS, ENSEMBLE):
        with pytest.raises(Refused, match="text_input: is missing"):
            generate(decoupled_server, model, max_tokens=3)
        with pytest.raises(Refused, match="prompt: text_input is missing, the prompt goes there; leave it out"):
            generate(decoupled_server, model, prompt="hi")
