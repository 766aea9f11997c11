"""Conversations as token ids, padded to a few lengths, made by processes of their own while the model learns.

The prompt is rendered by the checkpoint's chat template as it is when the model is served; the answer follows it, and
only the answer's tokens are learnt. Rows are padded at the end, which causal attention does not see.
"""

from __future__ import annotations

import multiprocessing
import queue
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.text.tokenizer import Tokenizer

from .make_data import Dialogue, conversations

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

LENGTHS = (40, 64, 96, 128, 192, 320, 448, 640, 1024, 1536)
"""A row has one of these lengths; a conversation longer than the last is not learnt."""


@dataclass(frozen=True)
class Batch:
    """token_ids: [rows, length]; at each of `positions` (into rows * length) the next token must be one of `targets`.

    `starts`: where in positions the answer of each row begins.
    """

    token_ids: NDArray[np.int32]
    positions: NDArray[np.int64]
    targets: NDArray[np.int64]
    starts: NDArray[np.int64]


class Encoder:
    """Conversations to (prompt ids, answer ids) with the tokenizer and template of a checkpoint's folder."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_folder(folder)
        self._template = ChatTemplate.from_folder(folder, self._tokenizer)
        self._end = self._tokenizer.end_ids[0]

    def __call__(self, conversation: Dialogue) -> tuple[list[int], list[int]]:
        example, thinking = conversation.example, conversation.thinking
        options = {"enable_thinking": True} if thinking else {}
        prompt = self._template.encode(example.messages, example.tools, options)
        return prompt, [*self._tokenizer.encode(example.text(thinking)), self._end]


def batches(encoded: Iterable[tuple[list[int], list[int]]], tokens: int) -> Iterator[Batch]:
    """Batches of about `tokens` tokens, each of one length, whenever there are enough of that length."""
    waiting: dict[int, list[tuple[list[int], list[int]]]] = {length: [] for length in LENGTHS}
    for prompt, answer in encoded:
        length = next((n for n in LENGTHS if n >= len(prompt) + len(answer)), None)
        if length is None:
            continue
        rows = waiting[length]
        rows.append((prompt, answer))
        if len(rows) * length >= tokens:
            yield batch(rows, length)
            rows.clear()


def batch(rows: list[tuple[list[int], list[int]]], length: int) -> Batch:
    """One batch of rows (prompt ids, answer ids), padded to `length`."""
    token_ids = np.zeros((len(rows), length), np.int32)
    positions: list[int] = []
    targets: list[int] = []
    starts: list[int] = []
    for row, (prompt, answer) in enumerate(rows):
        token_ids[row, : len(prompt) + len(answer)] = prompt + answer
        starts.append(len(targets))
        first = row * length + len(prompt) - 1
        positions.extend(range(first, first + len(answer)))
        targets.extend(answer)
    return Batch(token_ids, np.array(positions), np.array(targets), np.array(starts))


class Producer:
    """Processes that make batches without end. Used when none is ready: an earlier one, again."""

    def __init__(self, folder: Path, seed: int, tokens: int, processes: int, kept: int = 4000) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready: Queue[Batch] = context.Queue(maxsize=64)
        self._old: list[Batch] = []
        self._kept = kept
        self._random = random.Random(seed)
        self.repeated = 0
        self._processes = [
            context.Process(target=_produce, args=(self._ready, folder, seed * 1000 + n, tokens), daemon=True)
            for n in range(processes)
        ]
        for process in self._processes:
            process.start()

    def next(self) -> Batch:
        """A batch; waits only for the first ones."""
        try:
            fresh = self._ready.get(block=len(self._old) < 32, timeout=300)
        except queue.Empty:
            if not self._old:
                raise SystemExit("no conversations came within 300 s; is another program using all cores?") from None
            self.repeated += 1
            return self._random.choice(self._old)
        if len(self._old) < self._kept:
            self._old.append(fresh)
        else:
            self._old[self._random.randrange(self._kept)] = fresh
        return fresh

    def stop(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.terminate()


def _produce(ready: Queue[Batch], folder: Path, seed: int, tokens: int) -> None:
    encoder = Encoder(folder)
    for made in batches((encoder(c) for c in conversations(seed)), tokens):
        ready.put(made)
