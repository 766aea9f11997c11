"""Callers of the ensemble that leave have their slots back in about a second; whoever stays is never taken for gone.

The numbers are small: tritonserver 2.51 can abort when hundreds of gRPC callers of an ensemble leave in mid-answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from qwen_triton.tensors.contract import ENSEMBLE, TENSORRT_LLM
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.client import generate
from tests.support.live.crowd import Caller, Grpc, Http, Received, together
from tests.support.live.servers import LiveServer, serving
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
FREE_S = 5.0
"""Some 1.5 s on an idle machine; the bound leaves room for a busy one."""
ENDLESS = {"text_input": "and on and on ", "ignore_eos": True, "max_tokens": 5000, "stream": True}
"""100 seconds, far beyond every bound here."""


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 20.0, "slots": 128}})


@pytest.fixture(scope="module")
def two_processes(serve: Serve, qwen25_folder: Path) -> LiveServer:
    engine = {"kind": "replay", "step_ms": 20.0, "slots": 128}
    return serve({"model": str(qwen25_folder), "engine": engine, "repository": {"postprocessing_instances": 2}})


@contextmanager
def meanwhile(callers: list[Caller]) -> Iterator[Callable[[], list[Received]]]:
    """Callers that ask at the same time; the function waits for what they have heard."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(together, callers).result


WAYS: dict[str, Callable[[LiveServer], Caller]] = {
    "grpc cancelled": lambda server: Grpc(server, ENSEMBLE, ENDLESS, "an-id", leaves_after=3),
    "grpc cancelled, without an id": lambda server: Grpc(server, ENSEMBLE, ENDLESS, leaves_after=3),
    "http closed": lambda server: Http(server, ENSEMBLE, ENDLESS, leaves_after=3),
    "deadline": lambda server: Grpc(server, ENSEMBLE, ENDLESS, deadline_s=1.5),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_caller_that_leaves_alone_frees_its_slot(server: LiveServer, way: str) -> None:
    """Nothing else runs, so nothing overtakes its chunks."""
    before = server.engine_counters()
    together([WAYS[way](server)])
    assert becomes(lambda: server.runs(0), FREE_S)
    after = server.engine_counters()
    assert (after["cancelled"], after["finished"]) == (before["cancelled"] + 1, before["finished"])


@pytest.mark.parametrize("which", ["server", "two_processes"])
def test_32_leave_among_32_who_stay(request: pytest.FixtureRequest, which: str, qwen25: Tokenizer) -> None:
    server: LiveServer = request.getfixturevalue(which)
    texts = [f"{n}: " + "你好 hello 🙂 " * 100 for n in range(32)]
    assert all(qwen25.decode(qwen25.encode(text)) == text for text in texts)
    staying: list[Caller] = [
        (Grpc if n % 2 else Http)(server, ENSEMBLE, {"text_input": text, "stream": True})
        for n, text in enumerate(texts)
    ]
    ways = list(WAYS.values())
    before = server.engine_counters()
    with meanwhile(staying) as received:
        assert becomes(lambda: server.runs(32), FREE_S)
        together([ways[n % len(ways)](server) for n in range(32)])
        assert becomes(lambda: server.runs(32), FREE_S)
        assert [(h.text, h.finish, h.ends, h.error) for h in received()] == [(text, "stop", 1, "") for text in texts]
    assert server.runs(0)
    assert server.engine_counters()["finished"] == before["finished"] + 32


def test_same_id_at_once(server: LiveServer) -> None:
    """The second with an id that runs is refused, and leaves the first one's state and acknowledgements alone."""
    text = "to the end 🙂 " * 100
    stays = Grpc(server, ENSEMBLE, {"text_input": text, "stream": True}, "same")
    with meanwhile([stays]) as received:
        assert becomes(lambda: server.runs(1), FREE_S)
        (second,) = together([Grpc(server, ENSEMBLE, ENDLESS, "same", leaves_after=3)])
        assert "a request with the id same is in progress" in second.error
        assert [(h.text, h.finish, h.ends, h.error) for h in received()] == [(text, "stop", 1, "")]
    assert becomes(lambda: server.runs(0), FREE_S)


def test_a_caller_of_the_engine_model_itself_is_never_gone(server: LiveServer) -> None:
    """Even one that sends stop words and takes the lengths: postprocessing never sees its chunks."""
    ids = [100 + n for n in range(300)]
    inputs = {
        "input_ids": ids,
        "input_lengths": 300,
        "request_output_len": 300,
        "streaming": True,
        "stop_words": ["?!?"],
    }
    before = server.engine_counters()
    answers: list[Caller] = [Grpc(server, ENSEMBLE, {"text_input": "a " * 300, "stream": True})]
    with meanwhile(answers * 2) as received:
        outputs = ["output_ids", "sequence_length", "finish_reason"]
        direct = together([Grpc(server, TENSORRT_LLM, inputs), Grpc(server, TENSORRT_LLM, inputs, outputs=outputs)])
        assert [(h.finish, h.ends, h.error) for h in direct] == [("length", 1, "")] * 2
        assert {h.finish for h in received()} == {"stop"}
    assert server.engine_counters()["cancelled"] == before["cancelled"]


def test_a_slow_engine_s_callers_are_never_gone(serve: Serve, qwen25_folder: Path) -> None:
    """A second and a half between two chunks, alone: nothing is under way for most of the time."""
    server = serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 1500.0}})
    received = together([Grpc(server, ENSEMBLE, {"text_input": "a b c", "stream": True})])[0]
    assert (received.text, received.finish) == ("a b c", "stop")


def test_nobody_is_gone_who_asks_a_server_that_stands_still(server: LiveServer) -> None:
    """Three seconds without processor time, while its models' processes go on and have nothing to do.

    A model's process that stands still is given up by the server itself, and its requests fail.
    """
    triton = psutil.Process(server.pid)
    text = "on and on " * 100
    before = server.engine_counters()["cancelled"]
    with meanwhile([Grpc(server, ENSEMBLE, {"text_input": text, "stream": True})] * 4) as received:
        assert becomes(lambda: server.runs(4), FREE_S)
        time.sleep(1.0)
        triton.suspend()
        time.sleep(3.0)
        triton.resume()
        assert [(h.text, h.finish, h.error) for h in received()] == [(text, "stop", "")] * 4
    assert server.engine_counters()["cancelled"] == before


SLOW = """
import time
from qwen_triton.triton.postprocessing import PostprocessingModel


class TritonPythonModel(PostprocessingModel):
    executed = 0

    def execute(self, requests):
        self.executed += 1
        time.sleep(3.0 if self.executed == 50 else len(requests) * EACH_S)
        return super().execute(requests)
"""
"""Postprocessing that takes half as many chunks as come, and once nothing for three seconds."""


@pytest.mark.parametrize("instances", [1, 2])
def test_nobody_who_stays_is_gone_when_postprocessing_is_overloaded(
    qwen25_folder: Path, tmp_path: Path, instances: int
) -> None:
    """Chunks wait for seconds there, in a queue that grows for as long as the engine goes on. Who leaves is found."""

    def slow(repository: Path) -> None:
        (repository / "postprocessing" / "1" / "model.py").write_text(f"EACH_S = {0.005 * instances}\n{SLOW}")

    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "replay", "step_ms": 20.0},
        "repository": {"postprocessing_instances": instances},
    }
    texts = [f"{n} " + "word " * 120 for n in range(8)]
    with serving(deployment, tmp_path, slow) as server:
        leaving = [Http(server, ENSEMBLE, ENDLESS, leaves_after=3)] * 4
        received = together([*leaving, *(Grpc(server, ENSEMBLE, {"text_input": t, "stream": True}) for t in texts)])
        assert [(h.text, h.finish, h.ends, h.error) for h in received[4:]] == [(text, "stop", 1, "") for text in texts]
        assert queue_s(server) > 1
        assert becomes(lambda: server.runs(0), FREE_S)
        assert server.engine_counters()["finished"] == len(texts)


def queue_s(server: LiveServer) -> float:
    """How long a chunk waited for postprocessing, on average."""
    url = f"http://{server.http}/v2/models/postprocessing/stats"
    queue = httpx.get(url).json()["model_stats"][0]["inference_stats"]["queue"]
    return float(queue["ns"] / queue["count"] / 1e9)


def test_a_whole_answer(server: LiveServer) -> None:
    """One response, long after the question: nothing of it is under way meanwhile."""
    text = "a " * 150
    cancelled = server.engine_counters()["cancelled"]
    assert generate(server, ENSEMBLE, text_input=text)["text_output"] == text
    assert server.engine_counters()["cancelled"] == cancelled


def test_a_whole_answer_where_nothing_is_streamed(serve: Serve, qwen25_folder: Path) -> None:
    engine = {"kind": "replay", "step_ms": 20.0}
    server = serve({"model": str(qwen25_folder), "engine": engine, "repository": {"decoupled": False}})
    text = "a " * 150
    assert generate(server, ENSEMBLE, text_input=text)["text_output"] == text
    assert server.engine_counters()["cancelled"] == 0
