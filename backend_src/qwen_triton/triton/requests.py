"""Reads what Triton passes to a model: a request's inputs and parameters, and the arguments of `initialize`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidRequest
from ..model_config import Parameters
from ..tensors.arrays import Array, check_input
from ..tensors.contract import INPUTS, REFUSED, STOP
from ..tensors.limits import DEFAULT_LIMITS, Limits, check_sizes, utf8_bytes
from ..tensors.request_parameters import check_parameters

_NO_PARAMETERS = ("", "{}")
_LOOKED_AT = 1 << 16
"""Bytes of parameters in which the one that is not UTF-8 is looked for."""
_SHOWN = 128
_REPLACED = "\N{REPLACEMENT CHARACTER}"


class RequestContent(NamedTuple):
    """A request's inputs by name, as arrays [rows, …], its parameters, and the client's id of it, empty for none.

    `size`: of its prompts in bytes, as `check_sizes` judges them.
    """

    arrays: dict[str, Array]
    parameters: Mapping[str, Any]
    request_id: str
    size: int

    def kept_arrays(self) -> dict[str, Array]:
        """The inputs as they may be read after `execute` has returned: numbers lie in memory that the server uses again."""
        return {name: array if array.dtype == object else array.copy() for name, array in self.arrays.items()}


class RequestReader:
    """Reads requests to a model of the contract, which has the name `model` there, within the table of limits. Thread-safe."""

    def __init__(self, model: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._model = model
        self._declared = {tensor.name: tensor for tensor in INPUTS[model]}
        self._refused = REFUSED.get(model, {})
        """Inputs whose shape and size do not matter: of an image, a limit to keep to would be no remedy."""
        self._limits = limits

    def check_envelope(self, request: Any) -> None:
        """Raises InvalidRequest for an id or a list of outputs above their limits, and for an id that is not UTF-8.

        Call it before `read`.
        """
        request_id = read_request_id(request)
        if request_id is None:
            raise InvalidRequest("is not valid UTF-8", "id")
        self._limits.check("request_id_bytes", utf8_bytes((request_id,)), "id")
        self._limits.check("outputs", len(request.requested_output_names()), "outputs")

    def read(self, request: Any) -> RequestContent:
        """The inputs that were sent, and the parameters.

        Raises InvalidRequest for an input of the wrong rank, for a parameter that nearly is an input or is not UTF-8, and
        for what is above a limit.
        """
        text = _parameters_of(request)
        self._limits.check("parameters_bytes", len(text), "parameters")
        parameters = {} if text in _NO_PARAMETERS else json.loads(text)
        check_parameters(parameters, self._model)
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        used = {name: array for name, array in arrays.items() if name not in self._refused}
        for name, array in used.items():
            check_input(self._declared[name], array)
        size = check_sizes(used, self._limits)
        return RequestContent(arrays, parameters, request.request_id(), size)


def read_request_id(request: Any) -> str | None:
    """The client's id of a request, empty where it gave none; None for one that is not UTF-8."""
    try:
        return str(request.request_id())
    except UnicodeDecodeError:
        return None


def _parameters_of(request: Any) -> str:
    """A request's parameters as JSON. Raises InvalidRequest naming one that is not UTF-8."""
    try:
        return str(request.parameters())
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            "a request parameter's name and value must be valid UTF-8", _broken(error.object)
        ) from None


def _broken(text: bytes) -> str:
    """The name of the first parameter that is not UTF-8. Values are not shown: forwarded headers are not all the caller's."""
    if len(text) > _LOOKED_AT:
        return "parameters"
    with contextlib.suppress(ValueError):
        for name, value in json.loads(text.decode("utf-8", "replace")).items():
            if _REPLACED in f"{name}{value}":
                return str(name)[:_SHOWN]
    return "parameters"


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


def instances_of(args: Mapping[str, str]) -> int:
    """The number of processes that run the model."""
    groups = json.loads(args["model_config"]).get("instance_group", ())
    return max(1, sum(int(group.get("count", 1)) for group in groups))


def asks_stop(request: Any) -> bool:
    """Whether the request cancels another: stock sends one with the id of a running request and `stop` = true.

    Reads nothing else of it, because a stop is never refused for anything beside it.
    """
    return any(tensor.name() == STOP and tensor.as_numpy().any() for tensor in request.inputs())


def repository_of(args: Mapping[str, str]) -> Path:
    """The model repository that the model was loaded from; Triton's argument names the model's own folder."""
    return Path(args["model_repository"]).parent
