"""From a model's name to a folder. The hub is played by a small stand-in that is handed in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_triton.checkpoint.hub import PATTERNS, HubLibrary, resolve_model
from qwen_triton.errors import ConfigurationError


class FakeHub:
    """Gives one folder, or fails as a hub does, and keeps what it was asked."""

    def __init__(self, folder: Path | None = None, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error
        self.sent: list[tuple[str, str | None, list[str]]] = []

    def snapshot_download(self, name: str, /, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.sent.append((name, revision, allow_patterns))
        if self.error:
            raise self.error
        return str(self.folder)


def refusal(model: str, library: HubLibrary) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolve_model(model, library=library)
    return str(caught.value)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """An existing folder needs no hub, whatever it is called."""
    hub = FakeHub()
    (tmp_path / "Qwen" / "Qwen3-0.6B").mkdir(parents=True)
    assert resolve_model(str(tmp_path / "Qwen/Qwen3-0.6B"), library=hub) == tmp_path / "Qwen/Qwen3-0.6B"
    assert hub.sent == []


def test_a_name_is_fetched_without_other_formats(tmp_path: Path) -> None:
    """The hub is asked for the name, the revision, and only the files that a checkpoint consists of."""
    hub = FakeHub(tmp_path)
    assert resolve_model("Qwen/Qwen3-0.6B", "modelscope", "v1", library=hub) == tmp_path
    assert hub.sent == [("Qwen/Qwen3-0.6B", "v1", PATTERNS)]


def test_what_is_neither_folder_nor_name_is_refused() -> None:
    """A path that is not there is a typing error, not something to look for on the internet."""
    for model in ("/no/such/folder", "./missing", "missing", "a/b/c"):
        assert refusal(model, FakeHub()) == (
            f"model: {model!r} is neither a folder on this machine nor a hub name such as Qwen/Qwen3-0.6B"
        )


def test_a_failing_hub_is_one_line_with_the_remedy() -> None:
    """Offline, unknown, no access: the library's own first line, and what to do."""
    hub = FakeHub(error=OSError("Cannot reach the hub.\nmany\nmore lines"))
    assert refusal("Qwen/Qwen3-0.6B", hub) == (
        "model: 'Qwen/Qwen3-0.6B' cannot be fetched from Hugging Face (OSError: Cannot reach the hub.); check the "
        "name and the network, or name a local folder with the checkpoint"
    )


def test_offline_mode_of_the_real_library_is_respected(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE is huggingface_hub's own switch: nothing is asked for, and the answer says why."""
    code = "from qwen_triton.checkpoint.hub import resolve_model; resolve_model('Qwen/none')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    last = result.stderr.strip().splitlines()[-1]
    assert "model: 'Qwen/none' cannot be fetched from Hugging Face (LocalEntryNotFoundError: " in last
    assert "name a local folder with the checkpoint" in last


def test_a_missing_library_is_named() -> None:
    """Without the hub's package the remedy is to install it; nothing here needs ModelScope's."""
    code = (
        "import sys; sys.modules['modelscope'] = None\n"
        "from qwen_triton.checkpoint.hub import resolve_model; resolve_model('Qwen/none', 'modelscope')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip().splitlines()[-1] == (
        "qwen_triton.errors.ConfigurationError: model: 'Qwen/none' is no folder here, and to fetch it from ModelScope "
        "the package modelscope is needed: pip install modelscope, or name a local folder"
    )
