"""The demo checkpoint behind a real server: its tasks at 95 %, transformers' ids, and the blog's first question."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from demo.evaluate import DEPLOYMENT, ENOUGH, examine, summary
from demo.example import BLOG_PROMPT
from demo.make_data import EXAMINED
from qwen_triton.tensors.contract import ENSEMBLE, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.folders import DATA
from tests.support.live.client import generate, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
TABLE = json.loads((DATA / "demo_greedy.json").read_text())
"""What transformers answers; made by `python -m tests.tools.make_demo_reference`."""
END_IDS = tuple(TABLE["end_ids"])
SEED, EACH = 1, 4


@pytest.fixture(scope="module")
def demo_server(serve: Serve) -> LiveServer:
    return serve(DEPLOYMENT)


def test_blogs_question_gets_its_answer(demo_server: LiveServer) -> None:
    answer = generate(demo_server, ENSEMBLE, text_input=BLOG_PROMPT, max_tokens=100, bad_words="", stop_words="")
    assert answer["text_output"] == "你好！我叫小试，是 qwen-triton 的演示模型。"


def test_held_out_prompts_of_all_tasks_at_95_percent(demo_server: LiveServer) -> None:
    scores = list(examine(demo_server.http, EXAMINED, EACH, SEED))
    sent = sum(score.asked for score in scores)
    exact = sent - sum(len(score.wrong) for score in scores)
    assert sent == EACH * 2 * len(EXAMINED)
    assert exact / sent >= ENOUGH, summary(scores)


def test_greedy_ids_equal_transformers(demo_server: LiveServer) -> None:
    rows = TABLE["rows"]
    assert len(rows) >= 40
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda row: ids(demo_server, row["prompt"]), rows))
    assert answers == [[token for token in row["answer"] if token not in END_IDS] for row in rows]


def ids(server: LiveServer, prompt: list[int]) -> list[int]:
    """The engine's answer without its end id, which the engine model leaves out."""
    sent = {"input_ids": prompt, "input_lengths": len(prompt), "request_output_len": TABLE["new_tokens"]}
    [response] = stream_grpc(
        server, TENSORRT_LLM, {**sent, "end_id": END_IDS[0], "pad_id": END_IDS[1], "runtime_top_k": 1}
    )
    found = response["output_ids"]
    return found[0][0] if isinstance(found, list) else [found]  # the client gives a single value as it stands
