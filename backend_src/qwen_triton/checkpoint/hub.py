"""Resolves the name of a model to a folder on this machine: a folder as it is, a hub name by a download.

The hubs' own libraries download and cache, by their own settings (`HF_HUB_OFFLINE`, `HF_HOME`, proxies, tokens). Both
are optional, and neither is imported for a folder.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Literal, Protocol, cast

from ..errors import ConfigurationError

Hub = Literal["huggingface", "modelscope"]
HUBS: tuple[Hub, ...] = ("huggingface", "modelscope")
_LIBRARY = {"huggingface": "huggingface_hub", "modelscope": "modelscope"}
_TITLE = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
"""The files of a checkpoint that are downloaded; .bin, .pth and .gguf copies of the weights are not."""


class HubLibrary(Protocol):
    """The function that `huggingface_hub` and `modelscope` have in common."""

    def snapshot_download(self, name: str, /, *, revision: str | None, allow_patterns: list[str]) -> str:
        """Downloads the files that are not cached and returns the local folder."""


def resolve_model(
    model: str, hub: Hub = "huggingface", revision: str | None = None, library: HubLibrary | None = None
) -> Path:
    """The local folder of `model`. Raises ConfigurationError, with the remedy, for one that is not there and not downloaded."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if not _NAME.fullmatch(model) or model.startswith("."):
        raise ConfigurationError(
            f"model: {model!r} is neither a folder on this machine nor a hub name such as Qwen/Qwen3-0.6B"
        )
    return _fetch(model, hub, revision, library or _import_library(model, hub))


def _import_library(model: str, hub: Hub) -> HubLibrary:
    try:
        return cast(HubLibrary, importlib.import_module(_LIBRARY[hub]))
    except ImportError as error:
        raise ConfigurationError(
            f"model: {model!r} is no folder here, and to fetch it from {_TITLE[hub]} the package {_LIBRARY[hub]} is "
            f"needed: pip install {_LIBRARY[hub]}, or name a local folder"
        ) from error


def _fetch(model: str, hub: Hub, revision: str | None, library: HubLibrary) -> Path:
    try:
        return Path(library.snapshot_download(model, revision=revision, allow_patterns=PATTERNS))
    except Exception as error:  # the hubs' errors have no base in common: network, name, token, disk, offline mode
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigurationError(
            f"model: {model!r} cannot be fetched from {_TITLE[hub]} ({type(error).__name__}: {reason}); check the "
            "name and the network, or name a local folder with the checkpoint"
        ) from error
