"""A model repository with stock's `ensemble` as clients see it: v0.14.0's inputs and outputs, answered by a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import Any

from qwen_triton_build.deployment.schema import Server
from qwen_triton_build.launch.log import ServerLog
from qwen_triton_build.launch.tritonserver import TritonServer
from tests.support.folders import DATA, STANDINS
from tests.support.live.servers import READY_S, free_ports

CONTRACT = DATA / "contract" / "triton_configs.v0.14.0.json"


def _tensor(tensor: dict[str, Any], *, is_input: bool) -> str:
    optional = " optional: true" if is_input and tensor["optional"] else ""
    return f'{{ name: "{tensor["name"]}" data_type: {tensor["data_type"]} dims: {tensor["dims"]}{optional} }}'


def write_stock_repository(folder: Path) -> Path:
    """`folder`/ensemble, loadable without an engine."""
    contract = json.loads(CONTRACT.read_text())["models"]["ensemble"]
    inputs = ", ".join(_tensor(t, is_input=True) for t in contract["inputs"])
    outputs = ", ".join(_tensor(t, is_input=False) for t in contract["outputs"])
    (folder / "ensemble" / "1").mkdir(parents=True)
    copyfile(STANDINS / "stock_standin" / "model.py", folder / "ensemble" / "1" / "model.py")
    (folder / "ensemble" / "config.pbtxt").write_text(
        'name: "ensemble" backend: "python" max_batch_size: 4 model_transaction_policy { decoupled: true }\n'
        f"input [ {inputs} ]\noutput [ {outputs} ]\ninstance_group [ {{ kind: KIND_CPU count: 1 }} ]\n"
    )
    return folder


@contextmanager
def stock_server(folder: Path) -> Iterator[Server]:
    """A server on such a repository, on free ports."""
    http, grpc, metrics = free_ports(3)
    settings = Server(http_port=http, grpc_port=grpc, metrics_port=metrics, ready_timeout_s=READY_S, exit_timeout_s=5)
    log = ServerLog(str(folder / "tritonserver.log"))
    server = TritonServer(settings, write_stock_repository(folder / "repository"), folder)
    server.start(log.open())
    try:
        server.wait_ready()
        yield settings
    finally:
        server.stop()
        log.close()
