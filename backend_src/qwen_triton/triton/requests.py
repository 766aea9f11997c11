"""Reading a Triton request: its inputs as arrays, checked against the contract; a model's parameters and place."""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..model_config import Parameters
from ..tensors.contract import Tensor
from ..tensors.queue_timeout import queue_timeout_s
from ..tensors.request_parameters import check_parameters
from ..tensors.tensor import Array, check_input

_SWITCH_S = 0.0002
_COLLECT_AFTER = 20_000
"""New objects between two garbage collections: with Python's own 700 each step of 500 requests would start one."""


def read_inputs(request: Any, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """{name: array} of the inputs that were sent. Raises InvalidRequest for a wrong rank or an unknown parameter."""
    check_parameters(json.loads(request.parameters() or "{}"))
    declared = {t.name: t for t in tensors}
    arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    for name, array in arrays.items():
        check_input(declared[name], array)
    return arrays


def read_queue_timeout(request: Any, most_ms: int) -> float | None:
    """Seconds that the request may wait for a slot; `most_ms` is the deployment's bound. Raises InvalidRequest."""
    return queue_timeout_s(request.timeout(), json.loads(request.parameters() or "{}"), most_ms)


def read_parameters(args: Mapping[str, str]) -> Parameters:
    """The parameters of the model that Triton's `initialize` arguments describe."""
    config = json.loads(args["model_config"])
    values = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
    return Parameters(config["name"], values)


def is_decoupled(args: Mapping[str, str]) -> bool:
    """Whether the model's config.pbtxt lets it answer one request with several responses."""
    policy = json.loads(args["model_config"]).get("model_transaction_policy", {})
    return bool(policy.get("decoupled", False))


def check_stream(streamed: bool, decoupled: bool, field: str) -> None:
    """Raises InvalidRequest for a stream from a model that can send one response only (the server would break it)."""
    if streamed and not decoupled:
        raise InvalidRequest("this server answers whole; leave it out, or serve with repository.decoupled: true", field)


def repository_of(args: Mapping[str, str]) -> Path:
    """The model repository that the model was loaded from (Triton's argument names the model's own folder)."""
    return Path(args["model_repository"]).parent


def server_pid() -> int:
    """The tritonserver that this model's stub belongs to."""
    return os.getppid()


def _end_with(server: int) -> None:
    """Waits for the process of this descriptor to end, then ends this one: there is nobody left to tell."""
    select.select([server], [], [])
    os._exit(1)


def prepare_process(model: str) -> None:
    """Log lines go to the server's log with the model's name; threads take turns often; the process ends with its server.

    With Python's own 5 ms a thread that computes would keep each new request waiting for that long. Prompts come one
    at a time, so the tokenizer needs no threads of its own. A server that ends before its models are unloaded (killed,
    or its exit timeout over) would leave the stub running for ever.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    threading.Thread(target=_end_with, args=(os.pidfd_open(server_pid()),), name="server-watch", daemon=True).start()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"%(levelname)s {model}: %(message)s")
