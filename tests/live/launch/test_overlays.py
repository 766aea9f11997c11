"""A repository rendered for NVIDIA's backend loads in a real server and answers, for the oldest contract and the newest.

The backend itself needs a GPU: a stand-in with the same config takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest

from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, Server
from qwen_triton_build.launch.log import ServerLog
from qwen_triton_build.launch.tritonserver import TritonServer
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from tests.support.engine_folders import write_engine
from tests.support.folders import STANDINS
from tests.support.live.client import Refused, generate_stream, stream_grpc
from tests.support.live.servers import LiveServer, free_ports

pytestmark = pytest.mark.live
STANDIN = STANDINS / "contract_standin" / "model.py"


@pytest.fixture(scope="module", params=["0.14.0", "1.2.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(version: str, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server on what is rendered for an engine of `version`."""
    folder = tmp_path_factory.mktemp("rendered")
    engine = TensorRtLlmSection(kind="tensorrtllm", engine_dir=write_engine(folder / "engine", version))
    deployment = Deployment(model="m", engine=engine)
    repository = render(placeholders(deployment, qwen25_folder), folder / "repository")
    config = repository / "tensorrt_llm" / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "tensorrtllm"', 'backend: "python"'))
    bls = repository / "tensorrt_llm_bls" / "config.pbtxt"
    bls.write_text(
        bls.read_text().replace(
            'key: "engine_door"\n  value {', 'key: "engine_door"\n  value {\n    string_value: "grpc"'
        )
    )
    copy(STANDIN, repository / "tensorrt_llm" / "1" / "model.py")
    http, grpc, metrics = free_ports(3)
    settings = Server(http_port=http, grpc_port=grpc, metrics_port=metrics, ready_timeout_s=90, exit_timeout_s=5)
    log = ServerLog(str(folder / "tritonserver.log"))
    running = TritonServer(settings, repository, folder)
    running.start(log.open())
    try:
        running.wait_ready()
        yield LiveServer(deployment.model_copy(update={"server": settings}), repository, folder, running.pid)
    finally:
        running.stop()
        log.close()


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
def test_a_stream_is_answered(server: LiveServer, model: str) -> None:
    """The ensemble loads with the connections of this version, and text comes through it and through the BLS."""
    events = generate_stream(server, model, text_input="你好", max_tokens=20, bad_words="", stop_words="")
    assert "".join(event["text_output"] for event in events) == "你好"


@pytest.mark.parametrize("name", ["seed", "random_seed"])
def test_an_input_that_the_version_does_not_have_is_refused_by_name(
    server: LiveServer, version: str, name: str
) -> None:
    """`random_seed` became `seed` in 0.20; the other one is refused by the server, not dropped."""
    row = {"text_input": "你好", "max_tokens": 20, "stream": True, name: 7}
    if (name == "seed") == (version == "1.2.1"):
        assert stream_grpc(server, "ensemble", row)
        return
    with pytest.raises(Refused, match=f"unexpected inference input '{name}' for model 'ensemble'"):
        stream_grpc(server, "ensemble", row)
