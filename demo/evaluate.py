"""Examines the demo model through a real server: `make eval-demo`.

    python -m demo.evaluate --each 50                      # starts a server for deployments/cpu.yaml, and ends it
    python -m demo.evaluate --each 50 --url localhost:8000 # asks one that runs

Asks held-out prompts of every task, Chinese and English, at the ensemble, many at once and greedily, and compares the
answers letter by letter. Prints a line a task; the last line is the summary. Ends with 1 where a task is below 95 %.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from .make_data import EXAMINED, LANGUAGES, Dialogue, questions

DEPLOYMENT = Path(__file__).resolve().parent.parent / "deployments" / "cpu.yaml"
ENOUGH = 0.95
AT_ONCE, MAX_TOKENS, WAIT_S, READY_S = 16, 1024, 120.0, 120.0


@dataclass(frozen=True)
class Score:
    """How one task went in one language; `wrong` holds (prompt, answer, right answer)."""

    task: str
    language: str
    asked: int
    wrong: list[tuple[str, str, str]]

    @property
    def accuracy(self) -> float:
        return 1 - len(self.wrong) / self.asked


def request(conversation: Dialogue) -> dict[str, Any]:
    """The body of POST …/generate for a question, as any client of the ensemble would send it."""
    example = conversation.example
    body: dict[str, Any] = {"messages": json.dumps(example.messages, ensure_ascii=False)}
    if example.tools:
        body["tools"] = json.dumps(example.tools, ensure_ascii=False)
    if conversation.thinking:
        body["chat_template_kwargs"] = '{"enable_thinking": true}'
    return body | {"max_tokens": MAX_TOKENS, "top_k": 1}


def answer(url: str, conversation: Dialogue) -> str:
    """What the server answers."""
    data = json.dumps(request(conversation)).encode()
    with urllib.request.urlopen(f"http://{url}/v2/models/ensemble/generate", data, timeout=WAIT_S) as reply:
        return str(json.load(reply)["text_output"])


def examine(url: str, tasks: Sequence[str], each: int, seed: int) -> Iterator[Score]:
    """`each` questions of every task and language; the same ones for the same seed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for task in tasks:
            for language in LANGUAGES:
                asked = list(islice(questions(task, language, seed), each))
                answers = pool.map(lambda conversation: answer(url, conversation), asked)
                wrong = [
                    (conversation.example.messages[-1]["content"], given, right)
                    for conversation, given in zip(asked, answers, strict=True)
                    if given != (right := conversation.example.text(conversation.thinking))
                ]
                yield Score(task, language, each, wrong)


def summary(scores: Sequence[Score]) -> str:
    """The last line."""
    lowest = min(scores, key=lambda score: score.accuracy)
    exact = sum(score.asked - len(score.wrong) for score in scores) / sum(score.asked for score in scores)
    return f"{exact:.1%} exact of all; lowest {lowest.accuracy:.1%} ({lowest.task} {lowest.language})"


@contextmanager
def _server(deployment: Path, log: str) -> Iterator[str]:
    """A server for `deployment` on free ports; its address."""
    ports = dict(zip(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "OPENAI_PORT"), map(str, _free_ports(4)), strict=True))
    command = [sys.executable, "-m", "qwen_triton_build.cli", "serve", str(deployment), "--log", log]
    process = subprocess.Popen(command, env={**os.environ, **ports}, stdout=subprocess.DEVNULL)
    url = f"localhost:{ports['HTTP_PORT']}"
    try:
        _wait_ready(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://{url}/v2/health/ready", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"the server did not get ready within {READY_S:.0f} s; what it printed says why")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="examine the demo model through a server")
    parser.add_argument("--each", type=int, default=50, help="questions of each task and language")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--task", action="append", choices=[*EXAMINED, "strange_words"], help="this one only; repeatable"
    )
    parser.add_argument("--deployment", type=Path, default=DEPLOYMENT, help="what the server that is started serves")
    parser.add_argument("--url", help="HOST:PORT of a running server (default: one is started)")
    parser.add_argument("--log", default="/tmp/qwen-triton-eval-demo.log", help="log of the server that is started")
    parser.add_argument("--wrong", action="store_true", help="show the wrong answers")
    options = parser.parse_args()
    if options.url:
        return _report(options.url, options)
    with _server(options.deployment, options.log) as url:
        return _report(url, options)


def _report(url: str, options: argparse.Namespace) -> int:
    scores = []
    for score in examine(url, options.task or EXAMINED, options.each, options.seed):
        scores.append(score)
        print(f"{score.task:14} {score.language} {score.accuracy:7.1%}  of {score.asked}", flush=True)
        for prompt, given, right in score.wrong if options.wrong else ():
            print(f"    {prompt!r}\n      {given!r}\n      {right!r} is right")
    print(summary(scores))
    return 0 if min(score.accuracy for score in scores) >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
