"""Fixtures for tests of several packages of the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from qwen_triton.engines.process import loads


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is /dev/shm otherwise."""
    folder = Path(mkdtemp())
    monkeypatch.setattr(loads, "_BASE", folder)
    yield folder
    rmtree(folder)
