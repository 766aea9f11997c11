"""Checks our server with a real vLLM behind it: python -m tests.gpu.check_server CHECKPOINT --python PYTHON --site FOLDER

Streams have the text of whole answers, callers who leave free the engine, and a core that is killed under load is started
again after its callers were told. Prints a line for each; exit code 1 when one fails. Run by the server's environment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tokenizers import Tokenizer

from .figures.loads import FigureError
from .figures.processor import family, group_of_ours
from .figures.systems import Machine, Served, write_interpreter

_TOLD_S, _BACK_S = 15.0, 120.0
"""Longest waits: for callers to be told that the engine has died, and for it to answer again."""
_CROWD = 100
_METRICS_S = 2.0
"""Metrics are updated once a second."""
_PIECE = re.compile(rb"^data: (\{.*\})\r?$", re.MULTILINE)
_RUNNING = re.compile(r"^qwen_triton_requests_running\S* (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """What a request came to: its text, why it ended (None = it did not), and its pieces."""

    text: str
    finish: str | None
    pieces: int


async def ask(port: int, prompt: str, tokens: int, stream: bool) -> Ended:
    """A completion at temperature 0; cancelling it closes the connection."""
    body = {
        "model": "qwen",
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
        "ignore_eos": True,
    }
    payload = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
    try:
        received = await reader.read()
    finally:
        writer.close()
    found = _PIECE.findall(received) if stream else [received[received.find(b"{") : received.rfind(b"}") + 1]]
    parts: list[dict[str, Any]] = [json.loads(piece) for piece in found if piece]
    choices = [choice for part in parts for choice in part.get("choices", ())]
    finish = next((c["finish_reason"] for c in choices if c.get("finish_reason")), None)
    return Ended("".join(c["text"] for c in choices), finish, len(choices))


def streams(served: Served, prompts: list[str]) -> str:
    """One after another, so that the batch is the same for both."""

    async def both() -> list[tuple[Ended, Ended]]:
        return [(await ask(served.port, p, 48, False), await ask(served.port, p, 48, True)) for p in prompts]

    answers = asyncio.run(both())
    for whole, stream in answers:
        assert (whole.text, whole.finish) == (stream.text, stream.finish), (whole, stream)
    return f"{len(answers)} answers, {sum(s.pieces for _, s in answers)} pieces"


def leaving(served: Served, prompts: list[str]) -> str:
    async def crowd() -> float:
        asked = [asyncio.create_task(ask(served.port, prompts[n % len(prompts)], 1500, True)) for n in range(_CROWD)]
        await asyncio.sleep(_METRICS_S)
        running = await asyncio.to_thread(_running, served)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return running

    before = asyncio.run(crowd())
    assert before, "nobody was under way"
    began = time.monotonic()
    while (running := _running(served)) and time.monotonic() - began < _TOLD_S:
        time.sleep(0.1)
    assert not running, f"{running:.0f} still run"
    return f"{before:.0f} ran when {_CROWD} left, and none {time.monotonic() - began:.1f} s later"


def killed(served: Served, prompts: list[str]) -> str:
    core = _core(served)

    async def crowd() -> tuple[list[Ended | BaseException], float]:
        asked = [asyncio.create_task(ask(served.port, prompts[n % len(prompts)], 1500, True)) for n in range(_CROWD)]
        await asyncio.sleep(1.0)
        core.kill()
        began = time.monotonic()
        ended = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), _TOLD_S)
        return ended, time.monotonic() - began

    ended, told_s = asyncio.run(crowd())
    cut = sum(isinstance(e, BaseException) or e.finish is None for e in ended)
    assert cut, "nobody was under way when the core was killed"
    began = time.monotonic()
    while time.monotonic() - began < _BACK_S:
        try:
            answer = asyncio.run(ask(served.port, prompts[0], 4, False))
        except OSError:
            answer = Ended("", None, 0)
        if answer.finish == "length":
            back_s = time.monotonic() - began
            return f"{cut} of {_CROWD} were told within {told_s:.1f} s; it answered again {back_s:.0f} s later"
        time.sleep(0.5)
    raise AssertionError(f"no answer within {_BACK_S:.0f} s")


CHECKS: dict[str, Callable[[Served, list[str]], str]] = {"streams": streams, "leaving": leaving, "killed core": killed}


def _running(served: Served) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics_port}/metrics", timeout=10) as reply:
        return sum(map(float, _RUNNING.findall(reply.read().decode())))


def _core(served: Served) -> psutil.Process:
    """The process of vLLM's engine core; of a vLLM that has none, the engine's own."""
    processes = {group_of_ours(p.cmdline()): p for p in family(served.pid)}
    return processes.get("core") or processes["engine"]


def main() -> int:
    """Returns the exit code: 0; 1 when a check failed; 2 where the server does not start."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.check_server", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--python", default="python3", help="vLLM's interpreter")
    parser.add_argument("--site", type=Path, help="a folder for its path, where vLLM is")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    prompts = [f"Reverse: one two three {n} apple pear" for n in range(16)]
    assert all(tokenizer.encode(prompt).ids for prompt in prompts)
    engine = {"gpu_memory_utilization": 0.3, "max_num_seqs": 64, "enforce_eager": True}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="qwen-triton-gpu-") as work:
        python = write_interpreter(shutil.which(arguments.python) or arguments.python, arguments.site, Path(work))
        machine = Machine(python, Path(work), ready_s=300)
        try:
            with machine.ours(arguments.checkpoint.resolve(), engine, 1) as served:
                everybody = family(served.pid)
                for name, check in CHECKS.items():
                    try:
                        print(f"ok    {name}: {check(served, prompts)}", flush=True)
                    except Exception as error:
                        failed += 1
                        print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)
        except FigureError as error:
            print(f"FAIL  start: {error}", flush=True)
            return 2
    left = [process.pid for process in everybody if process.is_running()]
    print(f"FAIL  end: {left} are left" if left else "ok    end: no process is left", flush=True)
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
