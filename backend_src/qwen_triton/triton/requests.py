"""Reads what Triton passes to a model: a request's inputs and parameters, and the arguments of `initialize`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidRequest
from ..model_config import Parameters
from ..tensors.arrays import Array, check_input
from ..tensors.contract import Tensor
from ..tensors.request_parameters import check_parameters

_NO_PARAMETERS = ("", "{}")


class RequestContent(NamedTuple):
    """A request's inputs by name, as arrays [rows, …], and its parameters."""

    arrays: dict[str, Array]
    parameters: Mapping[str, Any]


class RequestReader:
    """Reads requests to a model that declares `tensors` as its inputs and knows request `parameters`. Thread-safe."""

    def __init__(self, tensors: Sequence[Tensor], parameters: Collection[str] = ()) -> None:
        self._declared = {tensor.name: tensor for tensor in tensors}
        self._parameters = parameters

    def read(self, request: Any) -> RequestContent:
        """The inputs that were sent, and the parameters.

        Raises InvalidRequest for an input of the wrong rank and for an unknown parameter.
        """
        text = request.parameters()
        parameters = {} if text in _NO_PARAMETERS else json.loads(text)
        check_parameters(parameters, self._parameters)
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        for name, array in arrays.items():
            check_input(self._declared[name], array)
        return RequestContent(arrays, parameters)


def read_parameters(args: Mapping[str, str]) -> Parameters:
    """The parameters of the model that Triton's `initialize` arguments describe."""
    config = json.loads(args["model_config"])
    values = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
    return Parameters(config["name"], values)


def is_decoupled(args: Mapping[str, str]) -> bool:
    """Whether the model's config.pbtxt lets it send several responses to one request."""
    policy = json.loads(args["model_config"]).get("model_transaction_policy", {})
    return bool(policy.get("decoupled", False))


def check_stream(streamed: bool, decoupled: bool, field: str) -> None:
    """Raises InvalidRequest, with `field`, for a stream from a model that may send one response only.

    Triton itself would break off such a stream.
    """
    if streamed and not decoupled:
        raise InvalidRequest("this server answers whole; leave it out, or serve with repository.decoupled: true", field)


def repository_of(args: Mapping[str, str]) -> Path:
    """The model repository that the model was loaded from; Triton's argument names the model's own folder."""
    return Path(args["model_repository"]).parent
