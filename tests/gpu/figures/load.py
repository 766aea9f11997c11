"""A load on an OpenAI server, from several processes with raw sockets, so that the load takes little of the machine.

    python load.py PORT REQUESTS AT_ONCE PROMPT ANSWER streamed|whole PROCESSES

Prompts are token ids, answers go on to their last token. Prints the figures as JSON. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import re
import sys
import time
from dataclasses import dataclass, field

_COUNT = re.compile(rb'"completion_tokens":\s*(\d+)')
_READ = 1 << 16
_LOWEST, _HIGHEST = 1000, 150_000
"""Ids of prompts: none of them is special in a Qwen."""


@dataclass
class Answer:
    """Seconds from the request on; `first` is that of the first piece, `gaps` those between pieces."""

    first: float = 0.0
    tokens: int = 0
    chunks: int = 0
    gaps: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Wish:
    port: int
    requests: int
    at_once: int
    prompt: int
    answer: int
    streamed: bool
    seed: int


def _request(wish: Wish, rng: random.Random) -> bytes:
    body = {
        "model": "qwen",
        "prompt": [rng.randrange(_LOWEST, _HIGHEST) for _ in range(wish.prompt)],
        "max_tokens": wish.answer,
        "ignore_eos": True,
        "temperature": 0,
        "stream": wish.streamed,
        **({"stream_options": {"include_usage": True}} if wish.streamed else {}),
    }
    payload = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


async def _ask(wish: Wish, rng: random.Random) -> Answer:
    request, answer, received = _request(wish, rng), Answer(), bytearray()
    began = last = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", wish.port, limit=1 << 22)
    writer.write(request)
    while part := await reader.read(_READ):
        received += part
        if pieces := part.count(b'"text"'):
            now = time.perf_counter()
            if not answer.chunks:
                answer.first = now - began
            else:
                answer.gaps.append(now - last)
            answer.chunks += pieces
            last = now
    writer.close()
    counts = _COUNT.findall(received)
    answer.tokens = int(counts[-1]) if counts else 0
    if not received.startswith(b"HTTP/1.1 200") or answer.tokens != wish.answer:
        shown = bytes(received[:200] + b" ... " + received[-300:]).decode("utf-8", "replace")
        raise RuntimeError(f"an answer has {answer.tokens} of {wish.answer} tokens: {' '.join(shown.split())}")
    return answer


async def _ask_all(wish: Wish) -> list[Answer]:
    rng, places = random.Random(wish.seed), asyncio.Semaphore(wish.at_once)

    async def ask() -> Answer:
        async with places:
            return await _ask(wish, rng)

    return list(await asyncio.gather(*(ask() for _ in range(wish.requests))))


def _work(wish: Wish) -> list[Answer]:
    return asyncio.run(_ask_all(wish))


def _middle_ms(values: list[float]) -> float | None:
    return 1e3 * sorted(values)[len(values) // 2] if values else None


def _share(number: int, of: int) -> list[int]:
    return [number // of + (n < number % of) for n in range(of)]


def main() -> None:
    port, requests, at_once, prompt, answer = map(int, sys.argv[1:6])
    streamed, processes = sys.argv[6] == "streamed", min(int(sys.argv[7]), int(sys.argv[2]), int(sys.argv[3]))
    parts = zip(_share(requests, processes), _share(at_once, processes), strict=True)
    wishes = [Wish(port, n, m, prompt, answer, streamed, seed) for seed, (n, m) in enumerate(parts)]
    with multiprocessing.Pool(processes) as pool:
        pool.map(abs, range(processes), chunksize=1)  # all of them are there
        began = time.perf_counter()
        answers = [one for part in pool.map(_work, wishes, chunksize=1) for one in part]
        seconds = time.perf_counter() - began
    tokens, chunks = sum(a.tokens for a in answers), sum(a.chunks for a in answers)
    figures = {"tokens_per_s": tokens / seconds, "requests_per_s": len(answers) / seconds}
    if streamed:
        figures["first_ms"] = _middle_ms([a.first for a in answers])
        figures["gap_ms"] = _middle_ms([gap for a in answers for gap in a.gaps])
        figures["tokens_per_chunk"] = tokens / chunks
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
