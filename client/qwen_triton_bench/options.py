"""Command line of a load: one subcommand for each mode and below it one for each workload.

Most options are spelled as in stock's benchmark (tools/inflight_batcher_llm), so that its commands work unchanged.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM

MODES = {
    "core": (TENSORRT_LLM, "the engine model, token ids in and out"),
    "ensemble": (ENSEMBLE, "text to text through the ensemble"),
    "bls": (BLS, "text to text through the BLS"),
    "openai": ("", "the OpenAI-compatible shim, or any such server"),
}
DEFAULT_PORTS = {"grpc": 8001, "http": 8000, "openai": 9000}


def add_mode_options(parser: argparse.ArgumentParser, mode: str) -> None:
    """The mode's options are accepted before the workload and after it."""
    _add_load_options(parser, mode, with_defaults=True)
    shared = argparse.ArgumentParser(add_help=False)
    _add_load_options(shared, mode, with_defaults=False)
    workloads = parser.add_subparsers(dest="workload", metavar="WORKLOAD", required=True)
    for name, (summary, add) in WORKLOADS.items():
        add(workloads.add_parser(name, help=summary, description=summary, parents=[shared]))


def _add_load_options(parser: argparse.ArgumentParser, mode: str, *, with_defaults: bool) -> None:
    # The parser behind the workload has no defaults: its own would overwrite what was given before the workload. For
    # the same reason help texts spell defaults out; argparse cannot format `%(default)s` of a suppressed one.
    def add(*names: str, default: Any = None, **details: Any) -> None:
        parser.add_argument(*names, default=default if with_defaults else argparse.SUPPRESS, **details)

    where = "HOST:PORT" if mode != "openai" else "http://HOST:PORT, without /v1"
    add("-u", "--url", metavar="URL", help=f"{where}; default: this machine, the usual port")
    if mode == "openai":
        add("--model", help="served model's name; default: the first that the server lists")
        add("--endpoint", choices=["chat", "completions"], default="chat", help="default chat")
        add(
            "--triton-url",
            metavar="HOST:PORT",
            help="the shim's Triton (gRPC), whose tokenizer makes and counts prompts",
        )
        add("--api-key", default="", help="sent as a bearer token")
    else:
        add("-i", "--protocol", choices=["grpc", "http"], default="grpc", help="default grpc (stock: http)")
        add("--model", "--tensorrt-llm-model-name", default=MODES[mode][0], help=f"default {MODES[mode][0]}")
        add("--exclude-input-in-output", action="store_true", default=True, help="always so; for stock's commands")
    add("--deployment", type=Path, metavar="FILE", help="start a server from this deployment for the run")
    add("--tokenizer-dir", type=Path, metavar="DIR", help="counts tokens with DIR/tokenizer.json instead of the server")
    add(
        "--num-requests",
        type=int,
        metavar="N",
        help="requests, or conversations; default 500, or what the duration takes",
    )
    add("--duration", type=float, metavar="S", help="send for so many seconds")
    add("--max-input-len", type=int, default=4096, metavar="N", help="no longer prompts (default 4096)")
    add("-c", "--concurrency", type=int, metavar="N", help="always so many at once; default: all at once, as stock")
    add("--request-rate", type=float, default=-1.0, metavar="R", help="requests a second; -1 = all at once")
    add(
        "--time-delay-dist",
        choices=["constant", "exponential_dist"],
        default="exponential_dist",
        help="times between arrivals at a rate (default exponential_dist = Poisson)",
    )
    add(
        "--trace",
        type=Path,
        metavar="FILE",
        help="arrival times: seconds, one a line, or JSON lines with timestamp in ms",
    )
    add("--stream", action=argparse.BooleanOptionalAction, help="answers in pieces; default: if the model can")
    add("--warmup", type=int, default=4, metavar="N", help="requests before the measured ones (default 4)")
    add("--seed", type=int, default=0, help="the same seed makes the same prompts and times (default 0)")
    add("--silence", type=float, default=120.0, metavar="S", help="give up after so long without a sign (default 120)")
    for limit, words in (("ttft", "time to first token"), ("tpot", "time per output token"), ("latency", "latency")):
        add(f"--goodput-{limit}", type=float, metavar="MS", help=f"a good answer's {words} is at most this")
    add("--name", help="what the run is called in reports")
    add("--json", type=Path, metavar="FILE", help="write parameters, figures and raw samples")
    add("--op-stats-csv", type=Path, metavar="FILE", help="write the table as name,value lines")
    add("--explain", action="store_true", default=False, help="say what each figure means and what moves it (中文亦有)")


def _normal(parser: argparse.ArgumentParser) -> None:
    for side in ("input", "output"):
        parser.add_argument(f"--{side}-mean", type=float, required=True, metavar="N", help=f"mean {side} tokens")
        parser.add_argument(f"--{side}-stdev", type=float, default=0.0, metavar="N", help="0 = all alike (default)")
    parser.add_argument(
        "--max-output-len", type=int, default=4096, metavar="N", help="no longer answers (default 4096)"
    )


def _histogram(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--histogram-key", default="example", help="a built-in histogram (default %(default)s)")
    parser.add_argument(
        "--histogram", type=Path, metavar="FILE", help='JSON: {"input": {"bins", "weights"}, "output": …}'
    )


def _dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", type=Path, required=True, metavar="FILE", help="ShareGPT-like JSON, JSON lines, or text"
    )
    parser.add_argument(
        "--output-len", type=int, metavar="N", help="tokens to generate; default: as the answers in the file"
    )


def _fixed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", required=True, help="the text")
    parser.add_argument("--output-len", type=int, default=128, metavar="N", help="tokens to generate (default 128)")


def _shared_prefix(parser: argparse.ArgumentParser) -> None:
    for name, default, words in (
        ("prefixes", 4, "different system prompts"),
        ("prefix-len", 256, "tokens of each"),
        ("turns", 3, "turns of a conversation"),
        ("turn-len", 32, "new tokens a turn"),
        ("output-len", 64, "tokens of an answer"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{words} (default {default})")


WORKLOADS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "token-norm-dist": ("prompts and answers of normally distributed length", _normal),
    "token-from-histogram": ("lengths drawn from a histogram", _histogram),
    "dataset": ("prompts of a file", _dataset),
    "fixed-prompt": ("one prompt, over and over", _fixed),
    "shared-prefix": ("conversations that share system prompts", _shared_prefix),
}
