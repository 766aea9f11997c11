"""Progress of an engine that loads, read from the log while it grows: what it does, how far it is, what it has found.

Knows vLLM's lines (0.26 to 0.33); of other engines there are none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_READ = 1 << 20
_WEIGHTS, _COMPILE, _MEMORY, _WARM, _GRAPHS = (
    "loading weights",
    "compiling",
    "measuring memory for the cache",
    "warming up kernels",
    "capturing CUDA graphs",
)


@dataclass(frozen=True)
class Stage:
    """What the engine does; `percent` of it, None where that is not known."""

    name: str
    percent: int | None = None


@dataclass(frozen=True)
class LoadFact:
    """A line for the operator, of what loading has found."""

    text: str


_STAGES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), stage)
    for pattern, stage in (
        (r"Initializing a V1 LLM engine", "starting vLLM's engine core"),
        (r"Starting to load model|Loading model from scratch", _WEIGHTS),
        (r"Loading \w+ checkpoint shards[^:]*: +(?P<percent>\d+)%", _WEIGHTS),
        (r"Multi-thread loading shards: +(?P<percent>\d+)%", _WEIGHTS),
        (r"Prefetching checkpoint files: +(?P<percent>\d+)%", _WEIGHTS),
        (r"Model loading took ", "preparing the model"),
        (r"for vLLM's torch\.compile|Starting torch\.compile|Dynamo bytecode transform time", _COMPILE),
        (r"Compiling a graph for|Directly load the compiled graph", _COMPILE),
        (r"Initial profiling/warmup run took|Available KV cache memory: ", _MEMORY),
        (r"JIT kernel warmup starting|Running FlashInfer autotune", _WARM),
        (r"Capturing CUDA graphs[^:]*: +(?P<percent>\d+)%", _GRAPHS),
    )
)
_WEIGHT = re.compile(r"Model loading took (?P<gib>[\d.]+) GiB")
_CACHE = re.compile(r"KV cache size: (?P<tokens>[\d,]+) tokens")
_SEQUENCES = re.compile(r"Maximum concurrency for (?P<length>[\d,]+) tokens per request: (?P<times>[\d.]+)x")
_SHORTER = re.compile(r"Auto-fit max_model_len: reduced from (?P<asked>\d+) to (?P<fits>\d+)")


class EngineProgress:
    """Reads a log from its beginning on. `path` None: the log goes to the terminal, where the lines themselves are."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._offset = 0
        self._rest = ""

    def news(self) -> list[Stage | LoadFact]:
        """What has been added since the last call, in order."""
        if self._path is None or not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(_READ)
        if not data:
            return []
        self._offset += len(data)
        *whole, self._rest = re.split(r"[\r\n]", self._rest + data.decode("utf-8", "replace"))
        news = [found for line in whole for found in read_line(line)]
        # a bar has no end before the next one comes
        return news + [
            found for found in read_line(self._rest) if isinstance(found, Stage) and found.percent is not None
        ]


def read_line(line: str) -> list[Stage | LoadFact]:
    """What one line of vLLM's log says, findings before the stage that begins; nothing for most."""
    news: list[Stage | LoadFact] = []
    if weight := _WEIGHT.search(line):
        news.append(LoadFact(f"weights: {weight['gib']} GiB on a GPU"))
    if cache := _CACHE.search(line):
        news.append(LoadFact(f"KV cache: {cache['tokens']} tokens"))
    if sequences := _SEQUENCES.search(line):
        news.append(LoadFact(f"KV cache: {sequences['times']} sequences of {sequences['length']} tokens at once"))
    if shorter := _SHORTER.search(line):
        news.append(LoadFact(f"max_model_len is {shorter['fits']}, since {shorter['asked']} do not fit"))
    for pattern, stage in _STAGES:
        if found := pattern.search(line):
            percent = found.groupdict().get("percent")
            return [*news, Stage(stage, None if percent is None else int(percent))]
    return news
