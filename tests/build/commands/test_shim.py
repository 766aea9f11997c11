"""`qwen-triton shim`: the deployment's settings, the flags over them, one clear line for what is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.cli import main
from qwen_triton_build.commands.shim import add_arguments, settings
from qwen_triton_openai.settings import ShimSettings

DEPLOYMENT = """
model: Qwen/Qwen3-8B
served_model_name: qwen3
engine: {kind: replay}
server: {host: 10.0.0.7, grpc_port: 18001}
"""


@pytest.fixture(autouse=True)
def _no_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "OPENAI_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def deployment(tmp_path: Path) -> str:
    file = tmp_path / "deployment.yaml"
    file.write_text(DEPLOYMENT)
    return str(file)


def read(*arguments: str) -> ShimSettings:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return settings(parser.parse_args(arguments))


def test_alone_it_stands_before_a_triton_here() -> None:
    """No flag is needed for the usual ports."""
    assert read() == ShimSettings()


def test_a_deployment_says_all(deployment: str) -> None:
    """Where its server is, what its model is called."""
    found = read(deployment)
    assert (found.triton_url, found.models, found.port) == ("10.0.0.7:18001", {"qwen3": "tensorrt_llm_bls"}, 9000)


def test_a_deployment_s_own_words_come_first(deployment: str) -> None:
    """The key `openai` over what is derived."""
    own = "openai: {port: 9100, triton_url: 'gpu:1', models: {a: b}, drain_s: 5.0, tool_format: hermes}\n"
    Path(deployment).write_text(DEPLOYMENT + own)
    found = read(deployment)
    assert (found.triton_url, found.models, found.port, found.drain_s) == ("gpu:1", {"a": "b"}, 9100, 5.0)


def test_flags_come_before_all(deployment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags, then the environment, then the file."""
    monkeypatch.setenv("OPENAI_PORT", "9200")
    assert read(deployment).port == 9200
    assert read().port == 9200
    found = read(deployment, "--port", "9300", "--triton-url", "h:1", "--host", "::", "--model", "x", "--model", "y=m")
    assert (found.port, found.triton_url, found.host) == (9300, "h:1", "::")
    assert found.models == {"x": "tensorrt_llm_bls", "y": "m"}
    assert [read(deployment, "--workers", n).workers for n in ("3", "auto")] == [3, "auto"]


def test_the_way_past_the_server_can_be_closed(deployment: str) -> None:
    """By the flag, or by the deployment's key; open without either."""
    assert [read(*flags).local_sockets for flags in ([], ["--no-local-sockets"])] == [True, False]
    assert [read(deployment, *flags).local_sockets for flags in ([], ["--no-local-sockets"])] == [True, False]
    Path(deployment).write_text(DEPLOYMENT + "openai: {local_sockets: false}\n")
    assert read(deployment).local_sockets is False


VLLM = """
model: Qwen/Qwen3-8B
served_model_name: qwen3
engine: {kind: vllm, lora: {pirate: adapters/pirate, poet: /poet}}
"""


def test_adapters_of_the_engine_are_served(deployment: str) -> None:
    Path(deployment).write_text(VLLM)
    assert read(deployment).adapters == {"pirate": "qwen3", "poet": "qwen3"}
    assert read(deployment, "--model", "q").adapters == {"pirate": "q", "poet": "q"}
    assert read(deployment, "--adapter", "poet").adapters == {"poet": "qwen3"}
    assert read("--model", "a", "--model", "b", "--adapter", "x=b").adapters == {"x": "b"}
    Path(deployment).write_text(VLLM + "openai: {adapters: {poet: qwen3}, models: {qwen3: ensemble}}\n")
    assert read(deployment).adapters == {"poet": "qwen3"}


@pytest.mark.parametrize(
    ("arguments", "port", "line"),
    [
        (
            ["--model", "a", "--adapter", "a"],
            None,
            "--adapter: a is the name of a model; give the adapter another one, got {'a': 'a'}",
        ),
        (["--adapter", "x=y"], None, "--adapter: x belongs to y, which is none of the models (qwen), got {'x': 'y'}"),
        (["--port", "70000"], None, "--port: input should be less than or equal to 65535, got 70000"),
        (["--workers", "0"], None, "--workers: expected auto, or a number from 1 to 256, got 0"),
        ([], "ninety", "OPENAI_PORT: expected a port number, got 'ninety'"),
        (["nowhere.yaml"], None, "nowhere.yaml: no such file; deployments/ has examples"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str],
    port: str | None,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the name as the user spells it; exit code 2."""
    if port is not None:
        monkeypatch.setenv("OPENAI_PORT", port)
    with pytest.raises(ConfigurationError):
        read(*arguments)
    assert main(["shim", *arguments]) == 2
    assert capsys.readouterr().err == f"qwen-triton: {line}\n"


def test_an_unknown_key_of_a_deployment_is_named(deployment: str) -> None:
    """With the one that was meant."""
    Path(deployment).write_text(DEPLOYMENT + "openai: {prot: 9100}\n")
    with pytest.raises(ConfigurationError, match=r"openai\.prot: unknown key; did you mean port\?"):
        read(deployment)


def test_an_address_that_is_none_is_refused_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Not with every request."""
    assert main(["shim", "--triton-url", "http://gpu-7:8001"]) == 2
    assert capsys.readouterr().err == (
        "qwen-triton: triton_url: expected HOST:PORT of Triton's gRPC, got 'http://gpu-7:8001'\n"
    )
