"""`serve` owns its processes: their death is told, mended by policy, and nothing outlives it."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.live.launches import Launch, answers, gone, launched, printed_commands, wait_for

pytestmark = pytest.mark.live


@pytest.fixture
def deployment(qwen25_folder: Path) -> dict[str, Any]:
    engine = {"kind": "replay", "mode": "echo", "step_ms": 20}
    return {"model": str(qwen25_folder), "engine": engine, "openai": {"enabled": False}}


@pytest.fixture
def with_shim(deployment: dict[str, Any], tmp_path: Path) -> Iterator[Launch]:
    with launched({**deployment, "openai": {"enabled": True}}, tmp_path) as running:
        yield running


@pytest.fixture
def launch(deployment: dict[str, Any], tmp_path: Path) -> Iterator[Launch]:
    with launched(deployment, tmp_path) as running:
        yield running


def generate(url: str, text: str, max_tokens: int) -> str:
    body = json.dumps({"text_input": text, "max_tokens": max_tokens}).encode()
    with urllib.request.urlopen(f"{url}/v2/models/ensemble/generate", data=body, timeout=60) as reply:
        return str(json.load(reply)["text_output"])


def test_sigterm_lets_running_requests_finish_and_leaves_nothing(with_shim: Launch) -> None:
    """The printed commands work; a request that runs when SIGTERM comes is answered whole; exit code 0."""
    launch = with_shim
    stock, chat = (subprocess.check_output(f"{c} -s", shell=True) for c in printed_commands(launch.output))
    assert json.loads(stock)["text_output"] == "你好，你叫什么名字"
    assert json.loads(chat)["choices"][0]["finish_reason"] == "stop"
    text = "one two three four five six seven eight nine ten " * 3
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(generate(launch.url, text, 60)))
    asking.start()
    asking.join(0.4)
    processes = launch.descendants()
    assert asking.is_alive()
    assert launch.end() == 0, launch.errors
    asking.join(60)
    assert answer == [text]
    assert gone(processes)
    assert launch.leftovers() == []


def test_a_killed_server_ends_the_launch_with_code_1_and_its_last_lines(launch: Launch) -> None:
    """Policy `exit`, the default: a container's restart policy sees it."""
    processes = launch.descendants()
    launch.find("tritonserver", "--model-repository").kill()
    assert launch.process.wait(60) == 1
    assert "tritonserver ended with signal SIGKILL" in launch.errors
    assert f"the whole log is in {launch.folder / 'log'}" in launch.errors
    wait_for(lambda: gone(processes))
    assert launch.leftovers() == []


def test_policy_restart_brings_a_killed_server_back(deployment: dict[str, Any], tmp_path: Path) -> None:
    """Readiness goes and comes back; the launch itself goes on."""
    with launched(deployment, tmp_path, "--on-failure", "restart") as launch:
        server = launch.find("tritonserver", "--model-repository")
        server.kill()
        wait_for(lambda: "starting it again" in launch.errors)
        assert not answers(f"{launch.url}/v2/health/ready")
        wait_for(lambda: answers(f"{launch.url}/v2/health/ready"))
        assert generate(launch.url, "hello", 8) == "hello"
        assert launch.find("tritonserver", "--model-repository").pid != server.pid
        assert launch.end() == 0


def test_a_killed_shim_ends_the_launch_too(with_shim: Launch) -> None:
    """Half a service is none."""
    launch = with_shim
    processes = launch.descendants()
    launch.find("qwen_triton_build.cli", "shim").kill()
    assert launch.process.wait(60) == 1
    assert "the OpenAI shim ended with signal SIGKILL" in launch.errors
    assert gone(processes)
    assert launch.leftovers() == []


def test_a_killed_launcher_takes_its_children_along(launch: Launch) -> None:
    """SIGKILL leaves no time for order, but no orphans either."""
    processes = launch.descendants()
    launch.process.kill()
    launch.process.wait(60)
    wait_for(lambda: gone(processes))


def test_a_server_that_cannot_load_ends_the_launch_at_once(deployment: dict[str, Any], tmp_path: Path) -> None:
    """Its reason is on the screen, restarts or not. The folder has a tokenizer and no weights."""
    deployment["engine"] = {"kind": "openvino"}
    with (
        pytest.raises(AssertionError, match=r"qwen-triton engine: .*safetensors"),
        launched(deployment, tmp_path, "--on-failure", "restart", "--ignore", "weights", "--ignore", "architecture"),
    ):
        pass
