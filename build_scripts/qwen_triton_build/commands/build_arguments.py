"""Arguments of `qwen-triton build`: flags, and the build they describe together with a deployment (flags win)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from qwen_triton.checkpoint import hub
from qwen_triton.errors import ConfigurationError

from ..deployment.build_section import Build, KvCache, Profile, Quantization
from ..deployment.checkpoint_names import full_name
from ..deployment.engine_sections import TensorRtLlmSection
from ..deployment.schema import Deployment, load_deployment

EPILOG = """
examples:
  qwen-triton build deployments/tensorrtllm.yaml --dry-run     the exact commands, nothing else
  qwen-triton build deployments/tensorrtllm.yaml               build; again: only what is not done yet
  qwen-triton build --model qwen2.5-7b-instruct --engine-dir /engines/qwen2.5-7b --quantization int4_awq --tp 2
  qwen-triton build my.yaml --build-flag max_seq_len=16384        any flag of trtllm-build, checked first

exit code: 0 built, 1 a step failed, 2 for a wrong deployment, flag or machine, 130 after Ctrl-C
"""


@dataclass(frozen=True)
class BuildRequest:
    """One engine to build: `model` is a folder or a hub name; `deployment` its file, None when flags give everything.

    `revision`: of a hub name that the deployment gives, None = the newest.
    """

    model: str
    hub: hub.Hub
    engine_dir: Path
    build: Build
    deployment: Path | None
    revision: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "deployment", type=Path, nargs="?", help="a deployment.yaml with engine: tensorrtllm and build:"
    )
    parser.add_argument("--model", help="checkpoint: a folder, a hub name, or a short one such as qwen2.5-14b-instruct")
    parser.add_argument("--hub", choices=hub.HUBS, help="where a model's name is fetched from (default huggingface)")
    parser.add_argument("--engine-dir", type=Path, metavar="DIR", help="folder of the engine")
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="DIR",
        help="folder of the converted checkpoint (default: beside the engine)",
    )
    parser.add_argument(
        "--trtllm-version",
        metavar="VERSION",
        help="TensorRT-LLM's version (default: the installed one; another only with --dry-run)",
    )
    parser.add_argument(
        "--quantization", choices=get_args(Quantization), help="quantization of the weights (default none)"
    )
    parser.add_argument("--kv-cache", choices=get_args(KvCache), help="type of keys and values (default: the model's)")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float16", "bfloat16", "float32"),
        help="type of the engine's numbers (default float16)",
    )
    parser.add_argument("--tp", type=int, metavar="N", help="tensor-parallel GPUs (default 1)")
    parser.add_argument("--pp", type=int, metavar="N", help="pipeline-parallel GPUs (default 1)")
    parser.add_argument(
        "--calib-dataset",
        metavar="SET",
        help="texts for what is calibrated: a folder, or a hub name (default: the tool's own, which it fetches)",
    )
    parser.add_argument("--profile", choices=get_args(Profile), help="set of trtllm-build flags (default: default)")
    parser.add_argument("--workers", type=int, metavar="N", help="ranks converted or built at once")
    parser.add_argument(
        "--examples", type=Path, metavar="DIR", help="TensorRT-LLM's examples/ (default: found on the machine)"
    )
    parser.add_argument(
        "--python", type=Path, metavar="FILE", help="an interpreter with tensorrt_llm (default: found in PATH)"
    )
    for kind, tool in (("convert", "convert_checkpoint.py or quantize.py"), ("build", "trtllm-build")):
        parser.add_argument(
            f"--{kind}-flag", action="append", metavar="NAME=VALUE", help=f"a flag of {tool}; repeatable"
        )
    parser.add_argument("--no-smoke-run", action="store_true", help="do not run the engine once at the end")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    parser.add_argument("--force", action="store_true", help="do all steps again, and replace what is in the way")


def read_request(arguments: argparse.Namespace) -> BuildRequest:
    """Settings of the deployment, overridden by flags. Raises ConfigurationError for a missing or wrong one."""
    deployment = load_deployment(arguments.deployment) if arguments.deployment else None
    engine = _engine(deployment, arguments.deployment)
    model = arguments.model or (deployment.model if deployment else None)
    if model is None or (engine is None and arguments.engine_dir is None):
        missing = "--engine-dir" if model else "--model"
        raise ConfigurationError(f"{missing}: is missing; give it, or a deployment.yaml")
    engine_dir = arguments.engine_dir.absolute() if arguments.engine_dir or engine is None else engine.engine_dir
    build = (deployment.build if deployment else None) or Build()
    source = arguments.hub or (deployment.hub if deployment else "huggingface")
    revision = deployment.revision if deployment and not arguments.model else None
    return BuildRequest(
        full_name(model), source, engine_dir, _with_flags(build, arguments), arguments.deployment, revision
    )


def _engine(deployment: Deployment | None, file: Path) -> TensorRtLlmSection | None:
    if deployment is None or isinstance(deployment.engine, TensorRtLlmSection):
        return deployment.engine if deployment and isinstance(deployment.engine, TensorRtLlmSection) else None
    raise ConfigurationError(
        f"{file}: engine.kind is {deployment.engine.kind}; only an engine of kind tensorrtllm is built"
    )


_KEYS = ("trtllm_version", "quantization", "kv_cache", "dtype", "tp", "pp", "profile", "workers", "calib_dataset")
_FOLDERS = ("checkpoint_dir", "examples", "python")


def _with_flags(build: Build, arguments: argparse.Namespace) -> Build:
    given: dict[str, Any] = {key: getattr(arguments, key) for key in _KEYS if getattr(arguments, key) is not None}
    given |= {key: getattr(arguments, key).absolute() for key in _FOLDERS if getattr(arguments, key) is not None}
    given |= {"smoke_run": False} if arguments.no_smoke_run else {}
    for key in ("convert", "build"):
        raw = dict(_raw_flag(f"--{key}-flag", text) for text in getattr(arguments, f"{key}_flag") or ())
        given |= {f"{key}_flags": {**getattr(build, f"{key}_flags"), **raw}} if raw else {}
    try:
        return Build.model_validate({**build.model_dump(), **given}).with_paths(Path.cwd())
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigurationError(f"build.{fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}") from None


def _raw_flag(option: str, text: str) -> tuple[str, bool | int | str | list[str]]:
    """NAME=VALUE, or NAME for a switch; several words with commas."""
    name, given, value = text.removeprefix("--").partition("=")
    if not name:
        raise ConfigurationError(f"{option}: got {text!r}, expected NAME=VALUE")
    if not given or value in ("true", "false"):
        return name, value != "false"
    if "," in value:
        return name, value.split(",")
    return name, int(value) if value.isdigit() else value
