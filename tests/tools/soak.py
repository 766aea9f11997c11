"""Mixed traffic against a real server for as long as asked: python -m tests.tools.soak --minutes 10

A tritonserver with the replay engine and an OpenAI shim answer rounds of clients: both models, gRPC, HTTP and the shim,
with and without stop strings; some leave in mid-answer, some send what is refused, some have a short queue timeout. gRPC
clients of the ensemble leave by stock's `stop` request, as a Session does, because tritonserver 2.51 can abort when such a
stream is cancelled (docs/exact-text.md). Every answer's text is compared with its script.
Prints each process's resident memory over time; at the end requests, mismatches, errors by kind, the engine's slots, and
each process's growth per 10,000 requests in the second half of the time, when caches and arenas are full. Exits 1 on a
mismatch, an error that is not expected, or a slot that is not free at the end.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.core.text.test_stop_scanner import naive
from tests.support.fetch_qwen import fetch
from tests.support.live.crowd import Caller, Grpc, Http, Received, together
from tests.support.live.servers import LiveServer, serving
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.six_ways import OpenAi
from tests.support.live.texts import random_texts
from tests.support.live.waiting import becomes

WARM_UP_ROUNDS = 3
FREE_S = 5.0


class MemoryOverTime:
    """Resident memory of each process in MiB, read every `every_s` seconds and printed as a row of a table."""

    def __init__(self, pids: Sequence[int], every_s: float) -> None:
        self._pids = pids
        self._every_s = every_s
        self._began = time.monotonic()
        self._next = self._began
        self._rows: list[tuple[int, dict[str, float]]] = []

    def read(self, requests: int) -> None:
        """Reads and prints, if it is time to; `requests` is how many have been answered so far."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every_s
        memory = memory_mib(self._pids)
        if not self._rows:
            print(f"resident memory, MiB\n{'minutes':>8}{'requests':>10}" + "".join(f"{n:>18}" for n in sorted(memory)))
        self._rows.append((requests, memory))
        minutes = (time.monotonic() - self._began) / 60
        print(f"\r{minutes:8.1f}{requests:10}" + "".join(f"{memory[n]:18.1f}" for n in sorted(memory)), flush=True)

    def growth(self) -> dict[str, float]:
        """MiB per 10,000 requests by process, from the middle of the time to its end."""
        (first, before), (last, after) = self._rows[len(self._rows) // 2], self._rows[-1]
        return {n: 1e4 * (after[n] - before[n]) / max(1, last - first) for n in sorted(after) if n in before}


@dataclass(frozen=True)
class Question:
    """One client and the text it must receive: all of it, or a beginning where it `leaves`. `refused`: an error instead.

    `script` is the text without the stop word's cut: an answer cancelled while the end of its text might still have
    become the stop word has that end. `hasty`: the whole answer, or an error because no slot was free in time.
    """

    caller: Caller
    text: str
    script: str = ""
    leaves: bool = False
    refused: bool = False
    hasty: bool = False

    def fault(self, received: Received) -> str:
        """What is wrong with what was received, in a word; empty for nothing."""
        text = b"".join(received.pieces)
        if self.refused:
            return "" if received.error and not text else "not refused"
        if received.error:
            if self.hasty and "within the request's timeout" in received.error and not text:
                return ""
            return f"error: {received.error[:80]}"
        if received.left:
            return (
                ""
                if self.leaves and received.is_beginning_of(self._expected(received)) and received.ends <= 1
                else "mismatch"
            )
        return "" if text == self.text.encode() and received.ends == 1 else "mismatch"

    def _expected(self, received: Received) -> str:
        return self.script if received.finish == "cancelled" else self.text


@dataclass(frozen=True)
class Traffic:
    """Rounds of `callers` at once, `pause_s` seconds apart, for `seconds`."""

    source: Iterator[Question]
    seconds: float
    callers: int
    pause_s: float


def questions(
    server: LiveServer, shim: LiveShim, tokenizer: Tokenizer, draw: random.Random, http: float
) -> Iterator[Question]:
    """Endless questions of every kind; a share `http` of them, 0 to 1, comes over HTTP.

    Half of the callers who neither leave nor are hasty come over the shim.
    """
    for text in random_texts(tokenizer, draw.getrandbits(32), longest=120):
        kind, model = draw.random(), draw.choice([BLS, BLS, ENSEMBLE])
        inputs: dict[str, Any] = {"text_input": text, "max_tokens": 500, "stream": True}
        expected = text
        if draw.random() < 0.3:
            start = draw.randrange(len(text))
            stops = (text[start : start + draw.randint(1, 3)],)
            inputs, expected = {**inputs, "stop_words": list(stops)}, naive(text, stops)[0]
        if kind < 0.05:
            yield Question(Grpc(server, model, {**inputs, "temperature": -1.0}), "", refused=True)
            continue
        leaves = draw.randint(0, 20) if kind < 0.25 else None
        hasty = 0.25 < kind < 0.35
        if kind >= 0.35 and draw.random() < 0.5:
            yield Question(_through(shim, inputs), expected, text)
            continue
        timeout = {"timeout": draw.randint(1, 20_000)} if hasty else {}
        if draw.random() >= http:
            name = secrets.token_hex(8)
            caller: Caller = Grpc(
                server, model, inputs, name, leaves_after=leaves, parameters=timeout, stops=model == ENSEMBLE
            )
        else:
            caller = Http(server, model, {**inputs, **timeout}, leaves_after=leaves)
        yield Question(caller, expected, text, leaves is not None, hasty=hasty)


def _through(shim: LiveShim, inputs: dict[str, Any]) -> Caller:
    """The same request to the shim's completions."""
    stop = {"stop": inputs["stop_words"]} if "stop_words" in inputs else {}
    body = {"prompt": inputs["text_input"], "max_tokens": inputs["max_tokens"], "stream": True, **stop}
    return OpenAi(int(shim.url.rpartition(":")[2]), body, MODEL)


def memory_mib(pids: Sequence[int]) -> dict[str, float]:
    """Resident memory in MiB of these processes and their children: the server, each model's stubs, the engine, the shim."""
    memory = Counter[str]()
    for parent in map(psutil.Process, pids):
        for process in (parent, *parent.children(recursive=True)):
            memory[_name(process.cmdline())] += process.memory_info().rss
    return {name: size / 2**20 for name, size in memory.items()}


def _name(command: list[str]) -> str:
    if "triton_python_backend_stub" in command[0]:
        return Path(command[1]).parents[1].name
    if "shim" in command:
        return "shim"
    return "engine" if "qwen_triton.engines.process.main" in command else Path(command[0]).name


def soak(server: LiveServer, traffic: Traffic, memory: MemoryOverTime) -> int:
    """Runs the rounds and prints the result; returns the exit code."""
    faults: Counter[str] = Counter()
    sent, late, rounds = 0, 0, 0
    end = time.monotonic() + traffic.seconds
    while time.monotonic() < end or rounds <= WARM_UP_ROUNDS:
        batch = list(islice(traffic.source, traffic.callers))
        for question, received in zip(batch, together([q.caller for q in batch]), strict=True):
            late += question.hasty and bool(received.error)
            if fault := question.fault(received):
                faults[fault] += 1
                print(f"{fault}: expected {question.text!r}, heard {received}")
        sent, rounds = sent + len(batch), rounds + 1
        if rounds >= WARM_UP_ROUNDS:
            memory.read(sent)
        print(f"\r{sent} requests, {sum(faults.values())} faults", end="", file=sys.stderr, flush=True)
        time.sleep(traffic.pause_s)
    free = becomes(server.is_free, FREE_S)
    _print_result(sent, late, faults, memory.growth(), free)
    return 1 if faults or not free else 0


def _print_result(sent: int, late: int, faults: Counter[str], growth: dict[str, float], free: bool) -> None:
    errors = {kind: count for kind, count in faults.items() if kind != "mismatch"}
    print(f"\nrequests {sent}, of which {late} waited too long for a slot")
    print(f"mismatches {faults['mismatch']}\nerrors {errors or 'none'}")
    print(f"slots at the end: {'all free' if free else 'NOT free'}")
    print("growth in the second half, MiB per 10,000 requests")
    for name, mib in growth.items():
        print(f"{name:24}{mib:8.2f}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.soak", description="mixed traffic against a real server, every answer checked"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=30.0, metavar="S", help="seconds between two readings of memory")
    parser.add_argument("--callers", type=int, default=64, help="requests of one round, all at once")
    parser.add_argument("--pause", type=float, default=0.0, metavar="S", help="seconds between two rounds")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--http", type=float, default=0.5, help="share of the clients that come over HTTP, 0 to 1")
    parser.add_argument("--folder", type=Path, help="an empty folder that keeps the server's log")
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = fetch() / "qwen2.5"
    engine = {"kind": "replay", "step_ms": 2.0, "slots": max(1, options.callers // 8)}
    repository = {"postprocessing_instances": 2}
    with (
        tempfile.TemporaryDirectory() as work,
        serving(
            {"model": str(folder), "engine": engine, "repository": repository}, options.folder or Path(work)
        ) as server,
        tempfile.TemporaryDirectory() as logs,
        shimming(server, Path(logs)) as shim,
    ):
        print(f"seed {options.seed}, {options.callers} callers at once, {options.minutes:g} minutes")
        draw = random.Random(options.seed)
        source = questions(server, shim, Tokenizer.from_folder(folder), draw, options.http)
        traffic = Traffic(source, options.minutes * 60, options.callers, options.pause)
        return soak(server, traffic, MemoryOverTime((server.pid, shim.process.pid), options.every))


if __name__ == "__main__":
    sys.exit(main())
