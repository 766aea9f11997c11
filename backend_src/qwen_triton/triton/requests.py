"""Reading a Triton request: its inputs as arrays, checked against the contract; a model's parameters and place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..model_config import Parameters
from ..tensors.arrays import Array, check_input
from ..tensors.contract import Tensor
from ..tensors.request_parameters import check_parameters, queue_timeout_s


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
