"""Rebuilds the argument parsers of TensorRT-LLM's tools from contract data; a command that a tool refuses raises ValueError."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

from tests.support.folders import CONTRACT

_FILES = {"convert_checkpoint": "convert_checkpoint_qwen", "trtllm-build": "trtllm_build"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


@cache
def facts_of(tool: str, line: str) -> dict[str, Any]:
    """All that is known of a tool at a release line such as 0.14.0 or 1.2."""
    return dict(json.loads((CONTRACT / f"{_FILES.get(tool, tool)}.v{line}.json").read_text()))


def parse(tool: str, line: str, words: Sequence[str]) -> argparse.Namespace:
    """What the tool would understand; abbreviated flags, which argparse allows, are refused here."""
    return _parser(tool, line).parse_args(list(words))


@cache
def _parser(tool: str, line: str) -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flag in facts_of(tool, line)["flags"]:
        parser.add_argument(*_names(flag), **_keywords(flag))
    return parser


def _names(flag: dict[str, Any]) -> list[str]:
    names: list[str] = flag["flags"]
    return [n for n in names if not n.startswith("--no-")] if flag["action"] == "boolean_optional" else names


def _keywords(flag: dict[str, Any]) -> dict[str, Any]:
    common = {"dest": flag["dest"], "default": flag["default"]}
    if flag["action"] in ("store_true", "store_false"):
        return {**common, "action": flag["action"]}
    if flag["action"] == "boolean_optional":
        return {**common, "action": argparse.BooleanOptionalAction}
    kind: Any = {"int": int, "float": float}.get(flag["type"], str)
    if "KVCacheType" in str(flag["type"]):
        kind = _cache_type
    choices = [kind(c) for c in flag["choices"] or () if c is not None]
    optional = {"choices": choices or None, "nargs": flag["nargs"] or None, "const": flag.get("const")}
    return {
        **common,
        "type": kind,
        "required": flag["required"],
        "action": "append" if flag["action"] == "append" else "store",
        **{key: value for key, value in optional.items() if value is not None},
    }


def _cache_type(text: str) -> str:
    if text.upper() not in ("CONTINUOUS", "PAGED", "DISABLED"):
        raise argparse.ArgumentTypeError(f"not a KV cache type: {text}")
    return text.upper()
