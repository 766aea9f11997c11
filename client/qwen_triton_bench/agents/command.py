"""`qwen-triton bench agents`: a neighbour's small questions, alone and beside agents with long histories."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import Deployment

from ..options import counts
from ..run.machine import describe_machine
from ..run.server import running_server, running_shim
from .asking import TARGETS, TargetAddress
from .conversation import AgentPlan
from .loads import AgentsLoad, ask_alone, ask_beside
from .table import LEGEND, AgentFigures, encode_rows, header, line, percentile

_DEMO = Path(__file__).resolve().parents[3] / "demo" / "checkpoint"
_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "vocab.json", "merges.txt")
_EPILOG = """
examples:
  qwen-triton bench agents --model Qwen3-8B/                 1 and 8 agents of 80,000 tokens that add 4,000 a turn
  qwen-triton bench agents --via bls --pause 0               agents that never pause
  qwen-triton bench agents --token-cache-bytes 1             every turn is tokenized whole
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("--via", default="bls,openai", metavar="TARGET,…", help="what is asked (default %(default)s)")
    parser.add_argument("--agents", default="1,8", metavar="N,…", help="agents at once (default %(default)s)")
    parser.add_argument(
        "--history", type=int, default=80_000, metavar="N", help="tokens before the first turn (80,000)"
    )
    parser.add_argument("--new", type=int, default=4_000, metavar="N", help="tokens that a turn adds (4,000)")
    parser.add_argument("--turns", type=int, default=6, metavar="N", help="turns of an agent (default 6)")
    parser.add_argument("--output-len", type=int, default=16, metavar="N", help="tokens of an answer (default 16)")
    parser.add_argument("--pause", type=float, default=0.5, metavar="S", help="seconds between two turns (default 0.5)")
    parser.add_argument("--questions", type=int, default=100, metavar="N", help="of the neighbour alone (default 100)")
    parser.add_argument(
        "--model", type=Path, default=_DEMO, metavar="DIR", help="whose tokenizer is used (default: the demo's)"
    )
    parser.add_argument("--token-cache-bytes", type=int, metavar="N", help="limits.token_cache_bytes of the server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit code: 0; 1 when a request failed. Raises ConfigurationError."""
    targets, agents = arguments.via.split(","), counts(arguments.agents, "--agents")
    for target in targets:
        if target not in TARGETS:
            raise ConfigurationError(f"--via: expected some of {', '.join(TARGETS)}, got {target!r}")
    for name, least in (("history", 1), ("new", 1), ("turns", 2), ("output_len", 1), ("questions", 1), ("pause", 0)):
        if getattr(arguments, name) < least:
            raise ConfigurationError(f"--{name.replace('_', '-')}: must be {least} or more")
    machine, rows = describe_machine(), []
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load before the run']}")
    print(f"{LEGEND}\n{header()}", flush=True)
    with _served(arguments, with_shim="openai" in targets) as (folder, triton, openai):
        for via in targets:
            rows += _measure(arguments, TargetAddress(via, openai if via == "openai" else triton), folder, agents)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": encode_rows(rows)}))
    return 1 if any(row.errors for row in rows) else 0


def _measure(
    arguments: argparse.Namespace, address: TargetAddress, folder: Path, agents: list[int]
) -> list[AgentFigures]:
    plan = AgentPlan(arguments.history, arguments.new, arguments.output_len, arguments.turns)
    ask_alone(address, 10)  # connections, caches and threads that a first request makes
    rows = [AgentFigures(address.via, ask_alone(address, arguments.questions))]
    alone = percentile([one.first_token_s for one in rows[0].neighbour if not one.error], 50)
    for count in (0, *agents):
        if count:
            rows.append(
                AgentFigures(address.via, *ask_beside(AgentsLoad(address, folder, plan, count, arguments.pause)))
            )
        print(line(rows[-1], alone), flush=True)
        for kind, errors in rows[-1].errors.items():
            print(f"[ERROR] {errors} x {kind}")
    return rows


@contextmanager
def _served(arguments: argparse.Namespace, *, with_shim: bool) -> Iterator[tuple[Path, str, str]]:
    """A server with the replay engine, a token a millisecond; yields the model's folder, Triton's gRPC, the shim's URL."""
    context = 4 * (arguments.history + arguments.new * arguments.turns)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen-triton-")))
        folder = _with_context(arguments.model, work / "model", context)
        data = {"model": str(folder), "engine": {"kind": "replay", "step_ms": 1.0, "max_context": context}}
        if arguments.token_cache_bytes is not None:
            data["limits"] = {"token_cache_bytes": arguments.token_cache_bytes}
        deployment = Deployment.model_validate(data)
        triton = stack.enter_context(running_server(deployment))
        workers = deployment.shim_settings().workers
        openai = stack.enter_context(running_shim(triton.grpc, workers))[0] if with_shim else ""
        yield folder, triton.grpc, openai


def _with_context(model: Path, folder: Path, context: int) -> Path:
    """A copy of the files of a tokenizer, which says that its model takes so many tokens."""
    if not (model / "tokenizer_config.json").is_file():
        raise ConfigurationError(
            f"--model {model}: has no tokenizer; give a Qwen checkpoint's folder (weights are not needed)"
        )
    folder.mkdir()
    for name in (*_FILES, *(file.name for file in model.glob("*.jinja"))):
        if (model / name).is_file():
            shutil.copy(model / name, folder)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    return folder
