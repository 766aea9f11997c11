"""Command line of a load: one subcommand for each mode and below it one for each workload.

Options of stock's benchmark (tools/inflight_batcher_llm) have its names and meanings, so that its commands work unchanged,
with `_` for `-` too as its first versions have them. Those that mean nothing here are refused with the reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM

MODES = {
    "core": (TENSORRT_LLM, "the engine model, token ids in and out"),
    "ensemble": (ENSEMBLE, "text to text through the ensemble"),
    "bls": (BLS, "text to text through the BLS"),
    "openai": ("", "the OpenAI-compatible shim, or any such server"),
}
REFUSED = {
    "--test-llmapi": "not taken: it sends texts to an LLM API model, mode core sends ids; use `bench ensemble` or `bls`",
    "--time-bet-reqs": "not taken: give the rate, --request-rate R --time-delay-dist constant with R = 1 / seconds",
}
"""Stock's options that mode core does not take, with the reason."""
REFUSED_NAMES = [name[2:].replace("-", "_") for name in REFUSED]
_Add = Callable[..., None]
"""Adds an option: argparse's `add_argument`."""
DEFAULT_PORTS = {"grpc": 8001, "http": 8000, "openai": 9000}


class _Refusal(argparse.Action):
    """An option that ends the command with the reason, which is its constant."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: object,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string}: {self.const}")


class _Names(argparse.Action):
    """An option that may be given several times: the first replaces the default, further ones are added to it."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        _option_string: str | None = None,
    ) -> None:
        given = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, [*(given if isinstance(given, list) else []), values])


def counts(text: str, option: str) -> list[int]:
    """Whole numbers from 1, with commas. Raises ConfigurationError, naming the option."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"{option}: expected whole numbers with commas, got {text!r}") from None
    if min(numbers) < 1:
        raise ConfigurationError(f"{option}: must be 1 or more, got {min(numbers)}")
    return numbers


def _only_auto(value: str) -> str:
    if value != "auto":
        raise argparse.ArgumentTypeError(
            f"only auto: DIR/tokenizer.json says what it is; Qwen has no {value} tokenizer"
        )
    return value


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
        default = default if with_defaults else argparse.SUPPRESS
        _add_spelled(parser, *names, default=default, **details)

    _add_target_options(add, mode)
    _add_arrival_options(add)
    _add_answer_options(add)
    _add_report_options(add)
    if mode == "core":
        for name, reason in REFUSED.items():
            add(name, action=_Refusal, nargs=0, const=reason, help=reason)


def _add_target_options(add: _Add, mode: str) -> None:
    """What is asked, and with which tokenizer."""
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
        add(
            "--model",
            "--tensorrt-llm-model-name",
            action=_Names,
            default=MODES[mode][0],
            help=f"default {MODES[mode][0]}; several times: requests go to these models in turn",
        )
        add(
            "--decoupled",
            action="store_true",
            default=False,
            help="whole answers through a gRPC stream, as a decoupled model needs it (needs -i grpc, which always uses one)",
        )
        add("--exclude-input-in-output", action="store_true", default=True, help="always so; for stock's commands")
    add("--deployment", type=Path, metavar="FILE", help="start a server from this deployment for the run")
    add("--tokenizer-dir", type=Path, metavar="DIR", help="counts tokens with DIR/tokenizer.json instead of the server")


def _add_arrival_options(add: _Add) -> None:
    """How many requests are sent, and when."""
    add(
        "--num-requests",
        type=int,
        metavar="N",
        help="requests, or conversations; default 500, or what the duration takes",
    )
    add("--duration", type=float, metavar="S", help="send for so many seconds")
    add("--max-input-len", type=int, default=4096, metavar="N", help="no longer prompts (default 4096)")
    add(
        "-c",
        "--concurrency",
        type=int,
        metavar="N",
        help="always so many at once, with a rate or trace at most so many; default: all at once, as stock",
    )
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


def _add_answer_options(add: _Add) -> None:
    """When a request counts as good, and when it is given up."""
    for limit, words in (("ttft", "time to first token"), ("tpot", "time per output token"), ("latency", "latency")):
        add(f"--goodput-{limit}", type=float, metavar="MS", help=f"a good answer's {words} is at most this")
    add(
        "-t",
        "--stream-timeout",
        type=float,
        metavar="S",
        help="after S seconds give up: what is not answered has failed",
    )


def _add_report_options(add: _Add) -> None:
    """What is printed, written and compared."""
    add("-v", "--verbose", action="store_true", default=False, help="also print a line for each request")
    add(
        "--check-perf-json",
        type=Path,
        metavar="FILE",
        help="compare the figures with those of FILE; exit code 1 if apart",
    )
    add("--check-perf-key", metavar="KEY", help="the entry of --check-perf-json: an object of stock's names and values")
    add("--check-perf-atol", type=float, default=50.0, metavar="X", help="they may differ by X (default 50) …")
    add(
        "--check-perf-rtol",
        type=float,
        default=0.05,
        metavar="R",
        help="… and by R of the entry's value (default 0.05)",
    )
    add(
        "--dump-perfetto-trace",
        action="store_true",
        default=False,
        help="write the requests to perfetto.json, for ui.perfetto.dev",
    )
    add("--name", help="what the run is called in reports")
    add("--json", type=Path, metavar="FILE", help="write parameters, figures and raw samples")
    add("--op-stats-csv", type=Path, metavar="FILE", help="append the table as a row, behind a header if FILE is new")
    add("--explain", action="store_true", default=False, help="say what each figure means and what moves it (中文亦有)")


def _add_spelled(parser: argparse.ArgumentParser, *names: str, **details: Any) -> None:
    """An option, and the same with `_` for `-`, which help does not show."""
    option = parser.add_argument(*names, **details)
    underscored = [f"--{name[2:].replace('-', '_')}" for name in names if "-" in name[2:]]
    if underscored:
        parser.add_argument(*underscored, **{**details, "dest": option.dest, "help": argparse.SUPPRESS})


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
    _add_spelled(
        parser,
        "--op-tokens-per-word",
        type=float,
        metavar="R",
        help="tokens to generate for each word of the answers; 1.3 in a file of stock's form (input, instruction, output)",
    )
    _add_spelled(parser, "--tokenizer-type", type=_only_auto, metavar="auto", help="only auto")


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
