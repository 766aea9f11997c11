"""The CPU engine behind a real server: transformers' ids, alone and among others, and many requests at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.checkpoints import prompts, write_checkpoint
from tests.support.folders import DATA
from tests.support.live.client import generate, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
NAME = "qwen2-untied-f32"
TABLE = json.loads((DATA / "openvino_greedy.json").read_text())["checkpoints"][NAME]
"""What transformers answers; made by `python -m tests.tools.make_greedy_reference`."""
PROMPTS = [prompts(100)[row["prompt"]] for row in TABLE["greedy"]]
ANSWERS = [row["ids"] for row in TABLE["greedy"]]
AT_ONCE = 32


@pytest.fixture(scope="module")
def table_server(serve: Serve, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """The checkpoint of the stored table; its vocabulary has 512 ids, so it is asked with ids."""
    folder = tmp_path_factory.mktemp("table") / NAME
    copytree(qwen25_folder, folder)
    write_checkpoint(folder, NAME)
    return serve({"model": str(folder), "engine": {"kind": "openvino", "cache_gib": 1}})


def row(prompt: list[int], length: int) -> dict[str, Any]:
    """A prompt as the engine model takes it, padded to `length`; nothing ends the answer early."""
    sent = {"request_output_len": len(ANSWERS[0]), "end_id": -1, "pad_id": 0, "runtime_top_k": 1}
    return {"input_ids": prompt + [0] * (length - len(prompt)), "input_lengths": len(prompt), **sent}


def ids(server: LiveServer, prompt: list[int]) -> list[int]:
    [response] = stream_grpc(server, TENSORRT_LLM, row(prompt, len(prompt)))
    return list(response["output_ids"][0][0])


def test_greedy_ids_equal_transformers_alone(table_server: LiveServer) -> None:
    assert [ids(table_server, prompt) for prompt in PROMPTS[:6]] == ANSWERS[:6]


def test_greedy_ids_equal_transformers_with_24_in_flight(table_server: LiveServer) -> None:
    assert len(PROMPTS) == 24
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(lambda prompt: ids(table_server, prompt), PROMPTS)) == ANSWERS


def test_greedy_ids_equal_transformers_in_one_request_of_24_rows(table_server: LiveServer) -> None:
    longest = max(map(len, PROMPTS))
    responses = stream_grpc(table_server, TENSORRT_LLM, *(row(prompt, longest) for prompt in PROMPTS))
    by_row = {response["batch_index"]: response["output_ids"][0][0] for response in responses}
    assert by_row == dict(enumerate(ANSWERS))


def test_the_bls_takes_ids_and_streams_the_same_tokens(table_server: LiveServer) -> None:
    """Its text is that of the ids, its count that of the table."""
    sent = {"input_ids": PROMPTS[0], "max_tokens": len(ANSWERS[0]), "ignore_eos": True, "top_k": 1}
    whole = generate(table_server, BLS, **sent)
    pieces = stream_grpc(table_server, BLS, {**sent, "stream": True})
    assert "".join(piece["text_output"] for piece in pieces) == whole["text_output"]
    assert whole["num_output_tokens"] == len(ANSWERS[0])


def test_32_at_once_take_few_more_steps_than_one(openvino_server: LiveServer) -> None:
    """In-flight batching, counted in the engine's steps: one after another they would need 32 times as many."""

    def steps(requests: int) -> int:
        before = openvino_server.engine_counters()["steps"]
        with ThreadPoolExecutor(requests) as pool:
            sent = [f"number {n}" for n in range(requests)]
            answers = list(pool.map(lambda text: generate(openvino_server, BLS, text_input=text, **options), sent))
        assert [a["num_output_tokens"] for a in answers] == [32] * requests
        return int(openvino_server.engine_counters()["steps"]) - before

    options: dict[str, Any] = {"max_tokens": 32, "ignore_eos": True, "top_k": 1}
    assert steps(AT_ONCE) < 8 * steps(1)
