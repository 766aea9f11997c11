"""A repository that was filled stock's way, by the blog's commands, loads in a real server and answers the blog's curl.

The engine is ours in place of NVIDIA's: one more call gives `triton_backend` and `engine_options`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.request import Request, urlopen

import pytest

from qwen_triton_build.deployment.schema import Server
from qwen_triton_build.launch.log import ServerLog
from qwen_triton_build.launch.tritonserver import TritonServer
from tests.support import stock_fill
from tests.support.folders import ROOT
from tests.support.live.servers import free_ports

pytestmark = pytest.mark.live
REPLAY = json.dumps({"engine": "replay", "mode": "echo"}).replace('"', '\\\\"').replace(":", "\\:").replace(",", "\\,")


@pytest.fixture(scope="module", params=["PLAIN", "OPTIMISED"])
def server(
    request: pytest.FixtureRequest, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """HOST:PORT of a server on a copy of our repository after the blog's commands, and how often an answer has the prompt."""
    folder = tmp_path_factory.mktemp("stock")
    repository = copytree(ROOT / "model_repository", folder / "repository")
    commands = getattr(stock_fill, request.param).replace("triton_backend:tensorrtllm", "triton_backend:python")
    places = {"MODEL_FOLDER": str(repository), "TOKENIZER_DIR": f"{qwen25_folder}/", "ENGINE_DIR": "/none"}
    stock_fill.run_commands(commands, places)
    engine = repository / "tensorrt_llm" / "config.pbtxt"
    stock_fill.fill_template(engine, f"engine_options:{REPLAY}", escapes=True, asserts=True)
    http, grpc, metrics = free_ports(3)
    settings = Server(http_port=http, grpc_port=grpc, metrics_port=metrics, ready_timeout_s=90, exit_timeout_s=5)
    log = ServerLog(str(folder / "tritonserver.log"))
    running = TritonServer(settings, repository, folder)
    running.start(log.open())
    try:
        running.wait_ready()
        yield f"127.0.0.1:{http}", 2 if request.param == "PLAIN" else 1
    finally:
        running.stop()
        log.close()


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
def test_the_blog_s_curl_is_answered(server: tuple[str, int], model: str) -> None:
    """The request of the blog, word for word; the engine repeats the prompt.

    The plain commands leave exclude_input_in_output unfilled, so the prompt precedes the answer, as in stock; the optimised
    ones fill it in the engine model, and the BLS follows it.
    """
    body: dict[str, Any] = {"text_input": "你好，你叫什么名字", "max_tokens": 100, "bad_words": "", "stop_words": ""}
    address, repeats = server
    request = Request(f"http://{address}/v2/models/{model}/generate", json.dumps(body).encode())
    with urlopen(request, timeout=30) as reply:
        assert json.load(reply)["text_output"] == "你好，你叫什么名字" * repeats
