"""Flags that `chat` and `generate` share: the server's address, the model, and one for each parameter of an answer.

Also reads a parameter from text, for the chat's /set. Knows no parameter by name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from qwen_triton.errors import InvalidRequest

from ..parameters import PARAMETERS, AnswerParameter
from ..session import DEFAULT_URL


def add_session_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --url and --model, the arguments of Session."""
    parser.add_argument(
        "--url", default=DEFAULT_URL, help="HOST:PORT of Triton's gRPC, or http://HOST:PORT (default %(default)s)"
    )
    parser.add_argument("--model", help="default: tensorrt_llm_bls where it is ready, else ensemble")


def add_parameter_flags(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """A flag for each parameter but those named in `without`: max_tokens becomes --max-tokens."""
    group = parser.add_argument_group("parameters of the answer")
    for parameter in PARAMETERS:
        if parameter.name not in without:
            _add_flag(group, parameter)


def _add_flag(group: Any, parameter: AnswerParameter) -> None:
    flag, text = "--" + parameter.name.replace("_", "-"), parameter.help.replace("%", "%%")
    if parameter.kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif parameter.file:
        group.add_argument(flag, type=read_json_file, metavar="FILE", help=f"{text}: a file of JSON")
    elif parameter.kind is dict:
        group.add_argument(flag, type=read_json, metavar="JSON", help=text)
    elif parameter.many:
        again = f"{text} (may be given again)"
        group.add_argument(flag, type=parameter.kind, action="append", metavar="X", help=again)
    else:
        group.add_argument(flag, type=parameter.kind, metavar=parameter.unit.upper() or "X", help=text)


def read_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters whose flags were given, by name, as Session takes them."""
    given = ((p.name, getattr(arguments, p.name, None)) for p in PARAMETERS)
    return {name: value for name, value in given if value is not None}


def read_json(text: str) -> dict[str, Any]:
    """A JSON object from a flag's text. Raises ArgumentTypeError for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return value


def read_json_file(name: str) -> dict[str, Any]:
    """The JSON object in a file, or in the text itself where it is one.

    Raises ArgumentTypeError for a file that cannot be read, or holds something else.
    """
    if name.lstrip().startswith("{"):
        return read_json(name)
    try:
        return read_json(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None


def set_parameter(parameters: dict[str, Any], name: str, text: str) -> None:
    """Sets one of `parameters` from text; «none» removes it. Raises InvalidRequest with its name."""
    known = {p.name: p for p in PARAMETERS}
    parameter = known.get(name.replace("-", "_").lstrip("_"))
    if parameter is None:
        raise InvalidRequest(f"no such parameter; there are {', '.join(known)}", name)
    if text.lower() == "none":
        parameters.pop(parameter.name, None)
        return
    try:
        value = text.lower() in ("true", "1", "yes", "on") if parameter.kind is bool else _read(parameter, text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise InvalidRequest(str(error), parameter.name) from None
    parameters[parameter.name] = [value] if parameter.many else value


def _read(parameter: AnswerParameter, text: str) -> Any:
    if parameter.file:
        return read_json_file(text)
    return read_json(text) if parameter.kind is dict else parameter.kind(text)
