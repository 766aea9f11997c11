"""Plan of a load: what the command line asks to be sent, and when."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from qwen_triton.errors import ConfigurationError

from .prompts.dataset import read_dataset
from .prompts.lengths import NormalLengths, draw_shapes, read_histograms
from .prompts.prompt import Conversation
from .prompts.prompt_text import PromptText
from .prompts.tokenizer import Encode
from .prompts.workloads import SharedPrefix, conversations_with_prefix, entries_as_prompts, fixed_prompt, shaped
from .run.arrivals import Arrivals, Closed, Open, all_at_once, constant_rate, poisson_rate, read_trace, trace
from .run.load import Bounds
from .run.statistics import GoodputLimits

REQUESTS = 500
_DURATION_PROMPTS = 2000
"""Prompts made for a run of set duration; a longer run repeats them."""


@dataclass(frozen=True)
class Plan:
    """What a load sends. `dropped`: conversations left out, since a prompt was longer than --max-input-len."""

    conversations: Sequence[Conversation]
    arrivals: Arrivals
    bounds: Bounds
    dropped: int = 0


def make_plan(arguments: argparse.Namespace, encode: Encode | None, *, as_ids: bool) -> Plan:
    """The plan for a command line. `encode`: the tokenizer; `as_ids`: prompts are token ids.

    Raises ConfigurationError naming the option that cannot be met.
    """
    times = read_trace(arguments.trace) if arguments.trace else None
    requested, timeout_s = arguments.num_requests, arguments.stream_timeout
    if timeout_s is not None and timeout_s <= 0:
        raise ConfigurationError(f"--stream-timeout: must be above 0, got {timeout_s:g}")
    if requested is not None and requested < 1:
        raise ConfigurationError(f"--num-requests: must be 1 or more, got {requested}")
    made = requested or (len(times) if times else _DURATION_PROMPTS if arguments.duration else REQUESTS)
    of_file = arguments.workload == "dataset"
    made_of = _dataset_conversations if of_file else make_conversations
    kept, dropped = _fitting(made_of(arguments, encode, made, as_ids=as_ids), arguments.max_input_len, made)
    if not kept:
        raise ConfigurationError(f"--max-input-len {arguments.max_input_len}: every prompt is longer")
    if of_file and requested and not arguments.duration:
        requested = min(requested, len(kept))  # as stock: a file is not sent twice
    count = requested or (10**9 if arguments.duration and not times else len(times) if times else len(kept))
    bounds = Bounds(min(count, len(times)) if times else count, arguments.duration, arguments.silence, timeout_s)
    return Plan(kept, make_arrivals(arguments, times), bounds, dropped)


def _fitting(conversations: Iterable[Conversation], max_input_len: int, count: int) -> tuple[list[Conversation], int]:
    """The first `count` conversations whose prompts all have at most `max_input_len` tokens, and how many had not."""
    kept: list[Conversation] = []
    dropped = 0
    for conversation in conversations:
        if any((prompt.input_tokens or 0) > max_input_len for prompt in conversation):
            dropped += 1
            continue
        kept.append(conversation)
        if len(kept) == count:
            break
    return kept, dropped


def _dataset_conversations(
    arguments: argparse.Namespace, encode: Encode | None, count: int, *, as_ids: bool
) -> Iterator[Conversation]:
    """Prompts of the file in its order, encoded as far as they are asked for; `count`: how many will be, about."""
    entries, tokens_per_word = read_dataset(arguments.dataset), arguments.op_tokens_per_word
    if tokens_per_word is not None and tokens_per_word <= 0:
        raise ConfigurationError(f"--op-tokens-per-word: must be above 0, got {tokens_per_word:g}")
    for at in range(0, len(entries), count):
        part = entries[at : at + count]
        yield from entries_as_prompts(
            part, arguments.output_len, encode, as_ids=as_ids, tokens_per_word=tokens_per_word
        )


def make_arrivals(arguments: argparse.Namespace, times: Sequence[float] | None) -> Arrivals:
    """When requests are sent. `times`: seconds since the start, of a trace. Raises ConfigurationError."""
    given = [
        name
        for name, is_given in (
            ("--request-rate", arguments.request_rate != -1),
            ("--trace", times is not None),
        )
        if is_given
    ]
    if len(given) > 1:
        raise ConfigurationError(f"{given[0]} and {given[1]} are two ways to say when requests come; give one")
    most = arguments.concurrency
    if most is not None and most < 1:
        raise ConfigurationError(f"--concurrency: must be 1 or more, got {most}")
    if most is not None and not given:
        return Closed(most)
    return replace(_open_arrivals(arguments, times), most=most)


def _open_arrivals(arguments: argparse.Namespace, times: Sequence[float] | None) -> Open:
    if times is not None:
        return trace(times, arguments.trace.name)
    if arguments.request_rate == -1:
        if arguments.duration:
            raise ConfigurationError("--duration needs --concurrency or --request-rate: all at once has no duration")
        return all_at_once()
    if arguments.request_rate <= 0:
        raise ConfigurationError(
            f"--request-rate: must be above 0, or -1 for all at once, got {arguments.request_rate:g}"
        )
    if arguments.time_delay_dist == "constant":
        return constant_rate(arguments.request_rate)
    return poisson_rate(arguments.request_rate, arguments.seed)


def make_conversations(
    arguments: argparse.Namespace, encode: Encode | None, count: int, *, as_ids: bool
) -> list[Conversation]:
    """The conversations, at most `count`, of a workload without a file. Raises ConfigurationError."""
    if arguments.workload == "fixed-prompt":
        return fixed_prompt(arguments.prompt, arguments.output_len, encode, as_ids=as_ids)
    if encode is None:
        raise ConfigurationError(
            f"{arguments.workload} makes prompts of exact length and needs a tokenizer: give --tokenizer-dir"
        )
    text = PromptText(encode, arguments.seed)
    if arguments.workload == "shared-prefix":
        form = SharedPrefix(
            arguments.prefixes, arguments.prefix_len, arguments.turns, arguments.turn_len, arguments.output_len
        )
        return conversations_with_prefix(form, count, text, encode, as_ids=as_ids)
    if arguments.workload == "token-from-histogram":
        lengths = read_histograms(arguments.histogram, arguments.histogram_key)
        return shaped(draw_shapes(lengths, count, arguments.seed), text, as_ids=as_ids)
    normal = (
        NormalLengths(arguments.input_mean, arguments.input_stdev, arguments.max_input_len, "input"),
        NormalLengths(arguments.output_mean, arguments.output_stdev, arguments.max_output_len, "output"),
    )
    return shaped(draw_shapes(normal, count, arguments.seed), text, as_ids=as_ids)


def limits(arguments: argparse.Namespace) -> GoodputLimits:
    """The goodput options, which are in milliseconds, as limits in seconds."""

    def seconds(value: float | None) -> float | None:
        return None if value is None else value / 1e3

    return GoodputLimits(
        seconds(arguments.goodput_ttft), seconds(arguments.goodput_tpot), seconds(arguments.goodput_latency)
    )
