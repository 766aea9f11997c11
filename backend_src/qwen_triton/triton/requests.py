"""Reads what Triton passes to a model: a request's inputs and parameters, and the arguments of `initialize`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..model_config import Parameters
from ..tensors.arrays import Array, check_input
from ..tensors.contract import STOP, Tensor
from ..tensors.limits import DEFAULT_LIMITS, Limits, check_sizes, utf8_bytes
from ..tensors.request_parameters import check_parameters

_NO_PARAMETERS = ("", "{}")


class RequestContent(NamedTuple):
    """A request's inputs by name, as arrays [rows, …], and its parameters."""

    arrays: dict[str, Array]
    parameters: Mapping[str, Any]


class RequestReader:
    """Reads requests to a model that declares `tensors` as its inputs, within the table of limits.

    `parameters`: request parameters with a meaning to the model. Thread-safe.
    """

    def __init__(
        self, tensors: Sequence[Tensor], limits: Limits = DEFAULT_LIMITS, parameters: Collection[str] = ()
    ) -> None:
        self._declared = {tensor.name: tensor for tensor in tensors}
        self._limits = limits
        self._parameters = parameters

    def check_envelope(self, request: Any) -> None:
        """Raises InvalidRequest for an id or a list of outputs above their limits. Call it before `read`."""
        self._limits.check("request_id_bytes", utf8_bytes((request.request_id(),)), "id")
        self._limits.check("outputs", len(request.requested_output_names()), "outputs")

    def read(self, request: Any) -> RequestContent:
        """The inputs that were sent, and the parameters.

        Raises InvalidRequest for an input of the wrong rank, for an unknown parameter, and for what is above a limit.
        """
        limits, text = self._limits, request.parameters()
        limits.check("parameters_bytes", len(text), "parameters")
        parameters = {} if text in _NO_PARAMETERS else json.loads(text)
        check_parameters(parameters, self._parameters)
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        for name, array in arrays.items():
            check_input(self._declared[name], array)
        check_sizes(arrays, limits)
        return RequestContent(arrays, parameters)


def read_parameters(args: Mapping[str, str]) -> Parameters:
    """The parameters of the model that Triton's `initialize` arguments describe."""
    config = json.loads(args["model_config"])
    values = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
    return Parameters(config["name"], values)


def read_limits(args: Mapping[str, str]) -> Limits:
    """The table of limits, with what the model's parameter `limits` sets. Raises ConfigurationError."""
    return Limits.read(read_parameters(args).json_object("limits"))


def is_decoupled(args: Mapping[str, str]) -> bool:
    """Whether the model's config.pbtxt lets it send several responses to one request."""
    policy = json.loads(args["model_config"]).get("model_transaction_policy", {})
    return bool(policy.get("decoupled", False))


def asks_stop(request: Any) -> bool:
    """Whether the request cancels another: stock sends one with the id of a running request and `stop` = true.

    Reads nothing else of it, because a stop is never refused for anything beside it.
    """
    return any(tensor.name() == STOP and tensor.as_numpy().any() for tensor in request.inputs())


def repository_of(args: Mapping[str, str]) -> Path:
    """The model repository that the model was loaded from; Triton's argument names the model's own folder."""
    return Path(args["model_repository"]).parent
