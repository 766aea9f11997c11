"""A Triton that asks for a key: nobody is answered without it, all of our own clients send it, and it is seen nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from qwen_triton.kserve.server_key import HEADER, VARIABLE
from qwen_triton_client import Session
from tests.support.live.launches import Launch, answers, launched

pytestmark = pytest.mark.live

KEY = "a-key-of-this-test-0123456789"
WAIT_S = 30


@pytest.fixture(scope="module")
def launch(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """The BLS asks the engine's model over the server's own gRPC, as with NVIDIA's backend; the shim is in front."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "key").write_text(f"{KEY}\n")
    deployment = {
        "model": str(qwen25_folder),
        "served_model_name": "keyed",
        "engine": {"kind": "replay", "mode": "echo"},
        "repository": {"engine_door": "grpc"},
        "server": {"api_key_file": "key", "open_apis": ["logging"]},
    }
    with launched(deployment, folder) as running:
        yield running


def grpc_of(launch: Launch) -> str:
    return f"127.0.0.1:{launch.deployment.server.grpc_port}"


def ask(url: str, body: object = None, **headers: str) -> tuple[int, dict[str, object]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    "path",
    ["models/ensemble/generate", "models/tensorrt_llm_bls/generate_stream", "models/ensemble/versions/1/generate",
     "models/tensorrt_llm/infer"],
)  # fmt: skip
def test_without_the_key_no_model_answers_over_http(launch: Launch, path: str) -> None:
    body = {"text_input": "hello", "max_tokens": 8}
    refused = (403, {"error": f"This API is restricted, expecting header '{HEADER}'"})
    assert ask(f"{launch.url}/v2/{path}", body) == refused
    assert ask(f"{launch.url}/v2/{path}", body, **{HEADER: KEY[:-1]}) == refused
    assert ask(f"{launch.url}/v2/{path}", body, **{HEADER: KEY + "x"}) == refused


@pytest.mark.parametrize("path", ["", "/models/ensemble", "/models/ensemble/config", "/models/stats", "/logging"])
def test_nor_is_anything_told_but_health(launch: Launch, path: str) -> None:
    """What the deployment opens is open to the key alone; what it does not open stays closed to it."""
    assert ask(f"{launch.url}/v2{path}")[0] == 403
    assert ask(f"{launch.url}/v2{path}", **{HEADER: KEY})[0] == 200
    assert ask(f"{launch.url}/v2/trace/setting", **{HEADER: KEY})[0] == 403
    assert answers(f"{launch.url}/v2/health/ready")


def test_with_the_key_models_answer(launch: Launch) -> None:
    body = {"text_input": "hello", "max_tokens": 8}
    for model in ("ensemble", "tensorrt_llm_bls"):
        status, answer = ask(f"{launch.url}/v2/models/{model}/generate", body, **{HEADER: KEY})
        assert (status, answer["text_output"]) == (200, "hello")


def test_grpc_asks_for_the_same_header(launch: Launch) -> None:
    with InferenceServerClient(grpc_of(launch)) as client:
        with pytest.raises(InferenceServerException) as refused:
            client.get_model_config("ensemble")
        assert refused.value.message() == f"This protocol is restricted, expecting header '{HEADER}'"
        assert client.get_model_config("ensemble", headers={HEADER: KEY}).config.name == "ensemble"
        assert client.is_server_ready()


def test_our_clients_send_it(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over gRPC and HTTP, from the environment; without it they say what they were told."""
    for url in (grpc_of(launch), launch.url):
        monkeypatch.setenv(VARIABLE, KEY)
        with Session(url, "tensorrt_llm_bls") as session:
            assert session.generate("hello", max_tokens=8).text == "hello"
        monkeypatch.delenv(VARIABLE)
        with (
            Session(url, "tensorrt_llm_bls") as session,
            pytest.raises(Exception, match="restricted, expecting header"),
        ):
            session.generate("hello", max_tokens=8)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_benchmark_sends_it(launch: Launch, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    url = grpc_of(launch) if protocol == "grpc" else launch.url.removeprefix("http://")
    command = [sys.executable, "-m", "qwen_triton_build.cli", "bench", "bls", "--url", url, "--protocol", protocol]
    sizes = ["--num-requests", "2", "-c", "1", "fixed-prompt", "--prompt", "hello", "--output-len", "4"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_shim_sends_it(launch: Launch) -> None:
    """Its own clients need no key of Triton's."""
    body = {"model": "keyed", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    status, answer = ask(f"http://127.0.0.1:{launch.deployment.openai.port}/v1/chat/completions", body)
    assert (status, answer["object"]) == (200, "chat.completion")


def test_the_key_is_in_no_process_list_and_in_no_log(launch: Launch) -> None:
    processes = launch.descendants()
    lines = ["\0".join(process.cmdline()) for process in processes]
    assert sum(
        f"inference,metadata,model-config,statistics,logging:{HEADER}={'x' * len(KEY)}" in line for line in lines
    )
    assert not any(KEY in line for line in lines)
    assert KEY not in launch.output + launch.errors + (launch.folder / "log").read_text()
    written = [file for file in (launch.folder / "tmp").rglob("*") if file.is_file() and file.suffix == ".pbtxt"]
    assert written
    assert not any(KEY in file.read_text() for file in written)
