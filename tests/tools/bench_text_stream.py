"""Measures the CPU time of TextStream per chunk of tokens: plain, with stop strings, with log probs. One thread, no server.

python -m tests.tools.bench_text_stream
"""

from __future__ import annotations

from time import perf_counter

from qwen_triton.text.text_stream import TextStream
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import StopConditions, TokenChunk
from tests.support.fetch_qwen import fetch

TEXT = "The quick brown fox jumps over the lazy dog. 敏捷的棕色狐狸跳过了懒狗🙂 "
KINDS = {
    "plain": (StopConditions(), False),
    "2 stop strings": (StopConditions(("</s>", "Human:")), False),
    "log probs": (StopConditions(), True),
}


def microseconds(tokenizer: Tokenizer, ids: list[int], size: int, stop: StopConditions, log_probs: bool) -> float:
    """The best of ten runs, per chunk of `size` tokens."""
    parts = [ids[i : i + size] for i in range(0, len(ids), size)]
    chunks = [TokenChunk(part, [-1.0] * len(part) if log_probs else ()) for part in parts]
    best = float("inf")
    for _ in range(10):
        feed = TextStream(tokenizer, stop, end_ids=tokenizer.end_ids).feed
        start = perf_counter()
        for chunk in chunks:
            feed(chunk)
        best = min(best, perf_counter() - start)
    return best / len(chunks) * 1e6


def main() -> None:
    """The command line."""
    tokenizer = Tokenizer.from_folder(fetch() / "qwen3")
    ids = tokenizer.encode(TEXT * 200)
    print(f"{'':16}{'tokens/chunk':>14}{'µs/chunk':>10}{'µs/token':>10}")
    for kind, (stop, log_probs) in KINDS.items():
        for size in (1, 4, 16):
            cost = microseconds(tokenizer, ids, size, stop, log_probs)
            print(f"{kind:16}{size:14}{cost:10.2f}{cost / size:10.2f}")


if __name__ == "__main__":
    main()
