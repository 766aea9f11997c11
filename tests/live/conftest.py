"""Servers shared by live tests: one with the replay engine, one with openvino and random weights; each starts once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.live.servers import LiveServer, serving

Serve = Callable[[Mapping[str, Any] | Path], LiveServer]
VOCABULARY = 151_936


@pytest.fixture(scope="session", autouse=True)
def conversions(qwen_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001  pip first
    """Converted checkpoints of this session go where pytest cleans up, not into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts a server for a deployment; it runs until the module's tests are done."""
    with ExitStack() as stack:
        yield lambda deployment: stack.enter_context(serving(deployment, tmp_path_factory.mktemp("server")))


@pytest.fixture(scope="session")
def replay_server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The replay engine behind Qwen2.5's tokenizer, echoing 200 tokens a second; `prompt_format: raw`, decoupled."""
    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "mode": "echo", "step_ms": 5.0}}
    with serving(deployment, tmp_path_factory.mktemp("replay")) as server:
        yield server


@pytest.fixture(scope="session")
def random_checkpoint(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with seeded random weights, Qwen2.5's whole vocabulary, tokenizer and chat template."""
    folder = tmp_path_factory.mktemp("checkpoints") / "random-qwen2"
    copytree(qwen25_folder, folder)
    return write_checkpoint(folder, "qwen2-tied-bf16", vocab_size=VOCABULARY)


@pytest.fixture(scope="session")
def openvino_server(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The openvino engine on the random checkpoint: nonsense, but real and deterministic; `prompt_format: chat`."""
    deployment = {
        "model": str(random_checkpoint),
        "engine": {"kind": "openvino", "cache_gib": 1},
        "repository": {"prompt_format": "chat"},
    }
    with serving(deployment, tmp_path_factory.mktemp("openvino")) as server:
        yield server


@pytest.fixture(scope="session")
def context_length(random_checkpoint: Path) -> int:
    """The context of the random checkpoint, in tokens."""
    return int(json.loads((random_checkpoint / "config.json").read_text())["max_position_embeddings"])
