"""Fixtures for all tests: Qwen's real tokenizers, fetched once into .cache/."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.fetch_qwen import fetch


def pytest_configure() -> None:
    """Under nohup SIGHUP is ignored, and a launcher rightly leaves it so; tests that send it need the default action."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def qwen_folder() -> Path:
    """The folder that holds `qwen2.5/`, `qwen3/` and more chat templates."""
    return fetch()


@pytest.fixture(scope="session")
def qwen25_folder(qwen_folder: Path) -> Path:
    """Tokenizer files of Qwen2.5-Instruct."""
    return qwen_folder / "qwen2.5"


@pytest.fixture(scope="session")
def qwen3_folder(qwen_folder: Path) -> Path:
    """Tokenizer files of Qwen3."""
    return qwen_folder / "qwen3"


@pytest.fixture(scope="session")
def qwen25(qwen25_folder: Path) -> Tokenizer:
    """Qwen2.5's tokenizer; it knows no <think>."""
    return Tokenizer.from_folder(qwen25_folder)


@pytest.fixture(scope="session")
def qwen3(qwen3_folder: Path) -> Tokenizer:
    """Qwen3's tokenizer."""
    return Tokenizer.from_folder(qwen3_folder)
