"""Loads and unloads models of a running server through its model control API, and finds an engine's processes."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from qwen_triton.tensors.contract import TENSORRT_LLM
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes

EXPLICIT = ("--model-control-mode=explicit", "--load-model=*")
POLL = ("--model-control-mode=poll", "--repository-poll-secs=1")
OPEN = {"open_apis": ["model-repository"]}
"""`server` of a deployment whose models are loaded through the API, which is closed otherwise."""
WITHIN_S = 30.0


def control(server: LiveServer, model: str, action: str, by: str = "grpc") -> str:
    """Lets the server «load» or «unload» a model: empty, or the error's text.

    By HTTP tritonserver 2.51 keeps every HTTP connection waiting while a model is loaded, and drops events of streams
    beyond some 280 that wait then; so only tests of gRPC streams load by HTTP.
    """
    if by == "http":
        return _control_http(server, model, action)
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        try:
            getattr(client, f"{action}_model")(model, client_timeout=WITHIN_S)
        except InferenceServerException as error:
            return str(error.message())
    return ""


def _control_http(server: LiveServer, model: str, action: str) -> str:
    url = f"http://{server.http}/v2/repository/models/{model}/{action}"
    try:
        urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST"), timeout=WITHIN_S).close()
    except urllib.error.HTTPError as error:
        return str(json.loads(error.read())["error"])
    return ""


def touch(server: LiveServer, model: str) -> None:
    """Makes the model's code newer, so that the server loads it again."""
    os.utime(server.repository / model / "1" / "model.py")


def index(server: LiveServer) -> dict[str, str]:
    """The state of each model by its name."""
    url = f"http://{server.http}/v2/repository/index"
    with urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST"), timeout=WITHIN_S) as reply:
        return {entry["name"]: entry.get("state", "") for entry in json.load(reply)}


def engine_processes(server: LiveServer) -> list[int]:
    """The process ids of all engines of the server."""
    return sorted(
        process.pid
        for process in psutil.Process(server.pid).children(recursive=True)
        if "engines.process.main" in " ".join(_command(process))
    )


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def has_one_engine(server: LiveServer, within_s: float = WITHIN_S) -> bool:
    """Whether one engine's process is left, soon."""
    return becomes(lambda: len(engine_processes(server)) == 1, within_s)


def change_engine(repository: Path, model: str = TENSORRT_LLM, **options: Any) -> None:
    """Sets options of an engine in the model's config.pbtxt; the rest of the file stays as it is."""
    file = repository / model / "config.pbtxt"
    text = file.read_text()
    found = re.search(r'key: "engine_options"\s+value \{\s+string_value: "((?:[^"\\]|\\.)*)"', text)
    assert found is not None
    changed = json.loads(found[1].replace('\\"', '"')) | options
    escaped = json.dumps(changed).replace('"', '\\"')
    file.write_text(text[: found.start(1)] + escaped + text[found.end(1) :])
