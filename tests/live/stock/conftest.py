"""Two servers for programs in the idiom of stock's clients: one may send several responses to a request, one may not.

The replay engine draws ids from a request's seed and prompt, so every answer is known beforehand.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.servers import LiveServer, serving

WORDS = (8_000, 9_000)
"""Ids of whole words."""

Expected = Callable[..., str]


@contextmanager
def random_server(model: Path, folder: Path, *, decoupled: bool) -> Iterator[LiveServer]:
    """200 tokens a second, so that there is time for a stop. Forms are taken, and the drawn ids played all the same."""
    engine = {
        "kind": "replay",
        "mode": "random",
        "step_ms": 5.0,
        "random_ids": list(WORDS),
        "tokens": 4000,
        "forms": "play",
    }
    repository = {"decoupled": decoupled, "max_batch_size": 4}
    with serving({"model": str(model), "engine": engine, "repository": repository}, folder) as server:
        yield server


@pytest.fixture(scope="session")
def decoupled_server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with random_server(qwen25_folder, tmp_path_factory.mktemp("decoupled"), decoupled=True) as server:
        yield server


@pytest.fixture(scope="session")
def whole_server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with random_server(qwen25_folder, tmp_path_factory.mktemp("whole"), decoupled=False) as server:
        yield server


@pytest.fixture(scope="session")
def expected_ids(qwen25: Tokenizer) -> Callable[..., list[int]]:
    """The ids that a prompt (a text, or ids) gets with a seed."""

    def ids_of(prompt: str | list[int], seed: int, tokens: int) -> list[int]:
        ids = tuple(qwen25.encode(prompt) if isinstance(prompt, str) else prompt)
        drawn = random.Random(zlib.crc32(repr((ids, seed)).encode()))
        return drawn.choices(range(*WORDS), k=tokens)

    return ids_of


@pytest.fixture(scope="session")
def expected_text(qwen25: Tokenizer, expected_ids: Callable[..., list[int]]) -> Expected:
    """The text of those ids."""
    return lambda prompt, seed, tokens: qwen25.decode(expected_ids(prompt, seed, tokens))
