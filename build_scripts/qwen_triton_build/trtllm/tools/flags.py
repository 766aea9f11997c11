"""Flags of TensorRT-LLM's command-line tools in each release: their names, types and spelling.

flags.json holds one row for each form of a flag, with the release lines that have it. Flags that the build sets itself
are refused as raw flags, with the key that sets them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

from qwen_triton.errors import ConfigurationError

Tool = Literal["convert_checkpoint", "quantize", "trtllm-build"]
FlagValue = bool | int | float | str | list[str]
FlagValues = dict[str, FlagValue]
"""{flag without dashes: value}, in the order of the command line; a switch is true."""

_SET_BY_DEPLOYMENT = {
    "convert_checkpoint": {
        **dict.fromkeys(("model_dir", "output_dir", "tp_size", "pp_size", "dtype", "workers"), ""),
        **dict.fromkeys(("use_weight_only", "weight_only_precision", "smoothquant", "group_size"), "quantization"),
        "per_channel": "quantization",
        "per_token": "quantization",
        "int8_kv_cache": "kv_cache",
    },
    "quantize": {
        **dict.fromkeys(("model_dir", "output_dir", "tp_size", "pp_size", "dtype"), ""),
        "qformat": "quantization",
        "kv_cache_dtype": "kv_cache",
    },
    "trtllm-build": dict.fromkeys(("checkpoint_dir", "output_dir", "workers"), ""),
}
"""{tool: {flag: the key of `build:` that sets it}}; "" = the key is in the next table."""
_DEPLOYMENT_KEYS = {
    "model_dir": "model",
    "output_dir": "engine.engine_dir and build.checkpoint_dir",
    "tp_size": "build.tp",
} | {
    "pp_size": "build.pp",
    "dtype": "build.dtype",
    "workers": "build.workers",
    "checkpoint_dir": "build.checkpoint_dir",
}
_REFUSED = {
    "model_config": "builds without weights",
    "build_config": "silently overrides the other flags",
    "dry_run": "builds no engine; `qwen-triton build --dry-run` prints the commands",
    "cp_size": "context parallelism changes the ranks that the launcher starts, and is not supported",
    "nemo_ckpt_path": "the model is a Hugging Face checkpoint here",
}
_REMOVED = {
    "tp_size": "is a matter of the checkpoint since 0.12: give build.tp",
    "pp_size": "is a matter of the checkpoint since 0.12: give build.pp",
    "max_output_len": "is gone since 0.12: give max_seq_len, prompt and answer together",
    "use_custom_all_reduce": "is gone since 0.12",
    "multi_block_mode": "is an option of serving since 0.12: give engine.multi_block_mode",
    "context_fmha_fp32_acc": "is an option of serving since 0.12: give engine.enable_context_fmha_fp32_acc",
    "weight_only_precision": "is a matter of the checkpoint since 0.11: give build.quantization",
    "strongly_typed": "is gone since 0.11: always on",
    "builder_opt": "is gone since 0.14",
    "builder_force_num_profiles": "is gone since 0.15: the environment variable BUILDER_FORCE_NUM_PROFILES does it",
    "lookup_plugin": "is gone since 0.15",
    "enable_xqa": "is gone since 0.16",
    "use_embedding_sharing": "is gone since 0.16: the script decides",
    "weight_compression": "is auto_quantize_bits since 0.15",
    "auto_parallel": "is gone since 1.1",
    "gpus_per_node": "is gone since 1.1",
    "cluster_key": "is gone since 1.1",
}
"""Why a release has no such flag, and the remedy; for flags of earlier releases or of other tools."""


@dataclass(frozen=True)
class Flag:
    """One flag of one tool at one release line; `choices` empty = any value of the kind, `many` = one or more words."""

    name: str
    kind: Literal["switch", "int", "float", "text"]
    choices: tuple[str | int, ...] = ()
    many: bool = False

    def spell(self, value: FlagValue) -> list[str]:
        """The words on the command line. Raises ConfigurationError for a value of another type or none of the choices."""
        if self.kind == "switch":
            return self._switch(value)
        words = [str(v) for v in value] if isinstance(value, list) else [str(value)]
        if isinstance(value, bool) or (len(words) != 1 and not self.many) or not all(map(self._fits, words)):
            raise ConfigurationError(f"{self.name}: got {_as_yaml(value)}, expected {self._expected()}")
        return [f"--{self.name}", *words]

    def _switch(self, value: FlagValue) -> list[str]:
        if not isinstance(value, bool):
            raise ConfigurationError(f"{self.name}: got {_as_yaml(value)}, expected true or false")
        return [f"--{self.name}"] if value else []

    def _fits(self, word: str) -> bool:
        if self.choices:
            return word in map(str, self.choices)
        try:
            {"int": int, "float": float, "text": str}[self.kind](word)
        except ValueError:
            return False
        return bool(word)

    def _expected(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        return {"int": "a whole number", "float": "a number", "text": "text"}[self.kind] + (
            " or more" if self.many else ""
        )


def _as_yaml(value: FlagValue) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


@cache
def _rows() -> dict[str, list[dict[str, object]]]:
    return dict(json.loads(Path(__file__).with_name("flags.json").read_text(encoding="utf-8")))


@cache
def flags_of(tool: Tool, line: str) -> Mapping[str, Flag]:
    """{name: flag} of a tool at a release line («0.14.0»); other spellings of a flag are names too."""
    flags: dict[str, Flag] = {}
    for row in _rows()[tool]:
        names, lines = row["names"], row["lines"]
        if isinstance(names, list) and isinstance(lines, list) and line in lines:
            first = names[0].removeprefix("--")
            flag = Flag(first, row["kind"], tuple(row.get("choices", ())), bool(row.get("many")))  # type: ignore[arg-type]
            flags |= {name.removeprefix("--"): flag for name in names}
    return flags


def spell_flags(tool: Tool, line: str, values: FlagValues) -> list[str]:
    """The command line's words for `values`. Raises ConfigurationError for the first that the tool would refuse."""
    known = flags_of(tool, line)
    return [word for name, value in values.items() for word in _flag(known, tool, line, name).spell(value)]


def _flag(known: Mapping[str, Flag], tool: Tool, line: str, name: str) -> Flag:
    if name in known:
        return known[name]
    if name in _REMOVED:
        raise ConfigurationError(f"{tool} of TensorRT-LLM {line}: {name} {_REMOVED[name]}")
    close = get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ConfigurationError(f"{tool} of TensorRT-LLM {line} has no flag {name}{hint}")


def check_raw(key: str, tool: Tool, line: str, raw: FlagValues) -> None:
    """Raises ConfigurationError naming `key` for a raw flag that does not exist, does not fit, or is set elsewhere."""
    for name, value in raw.items():
        key_name = _SET_BY_DEPLOYMENT[tool].get(name)
        if key_name is not None:
            owner = f"build.{key_name}" if key_name else _DEPLOYMENT_KEYS[name]
            raise ConfigurationError(f"{key}.{name}: is set by {owner}; give it there")
        if name in _REFUSED:
            raise ConfigurationError(f"{key}.{name}: is refused: {_REFUSED[name]}")
        try:
            _flag(flags_of(tool, line), tool, line, name).spell(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{key}: {error}") from None
