"""A model's labels and its engine's place come from Triton's arguments, never from constant names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qwen_triton.triton import instance as instance_module
from qwen_triton.triton.instance import ModelInstance

ARGS = {
    "model_name": "chat",
    "model_version": "3",
    "model_instance_name": "chat_0_2",
    "model_repository": "/models/a/chat",
}


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The command line of the server."""
    given: dict[str, str] = {}
    monkeypatch.setattr(instance_module, "server_flags", lambda _: given)
    monkeypatch.setattr(instance_module, "server_pid", os.getpid)
    return given


@pytest.mark.parametrize("value", [None, "false", "0"])
def test_labels_name_model_version_and_instance(flags: dict[str, str], value: str | None) -> None:
    if value is not None:
        flags["model-namespacing"] = value
    found = ModelInstance.read(ARGS)
    assert found.labels == {"model": "chat", "version": "3", "model_instance": "chat_0_2"}
    assert found.repository == Path("/models/a")


@pytest.mark.parametrize("value", ["true", "True", "1"])
def test_with_namespaces_they_name_the_repository_too(flags: dict[str, str], value: str) -> None:
    flags["model-namespacing"] = value
    assert ModelInstance.read(ARGS).labels["namespace"] == "/models/a"


def test_a_model_finds_the_engine_of_its_own_repository(flags: dict[str, str]) -> None:  # noqa: ARG001  a server
    mine = ModelInstance.read(ARGS | {"model_name": "engine"})
    other = ModelInstance.read(ARGS | {"model_name": "engine", "model_repository": "/models/b/engine"})
    loads = [each.new_load() for each in (mine, other)]
    try:
        for load in loads:
            load.publish()
        for each, load in zip((mine, other), loads, strict=True):
            assert (load.load.model, load.load.version) == ("engine", 3)
            assert each.locate_engine("engine")() == load.load.engine_socket
    finally:
        for load in loads:
            load.remove()
