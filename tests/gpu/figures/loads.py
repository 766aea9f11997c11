"""Loads, and what is measured under them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .processor import Seconds

_PROCESSES = 8
_LOAD = Path(__file__).with_name("load.py")
_WARM_UP = 64


class FigureError(Exception):
    """A figure could not be measured; the message says why."""


@dataclass(frozen=True)
class Load:
    """`requests` of `prompt` token ids, `at_once` of them in flight; each answer has `answer` tokens."""

    name: str
    requests: int
    at_once: int
    prompt: int
    answer: int
    streamed: bool = True


@dataclass(frozen=True)
class Figures:
    """What a load measured. Times in milliseconds; None = there is none, as of an answer that comes whole."""

    tokens_per_s: float
    requests_per_s: float
    first_ms: float | None = None
    gap_ms: float | None = None
    tokens_per_chunk: float | None = None
    processor_s: Mapping[str, float] | None = None


def measure(port: int, load: Load, processor: Callable[[], Seconds], within_s: float) -> Figures:
    """Sends a load to an OpenAI server at this port of loopback. Raises FigureError."""
    _send(port, replace(load, requests=_WARM_UP, at_once=_WARM_UP, answer=16), within_s)
    before = processor()
    figures = _send(port, load, within_s)
    return replace(figures, processor_s=dict(processor() - before))


def _send(port: int, load: Load, within_s: float) -> Figures:
    numbers = (port, load.requests, load.at_once, load.prompt, load.answer)
    way = "streamed" if load.streamed else "whole"
    command = [sys.executable, str(_LOAD), *map(str, numbers), way, str(_PROCESSES)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        raise FigureError(f"{load.name}: not all were answered after {within_s:.0f} s") from None
    if done.returncode:
        raise FigureError(f"{load.name}: {_last_line(done.stderr)}")
    return Figures(**json.loads(done.stdout))


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "the load ended without a word")
