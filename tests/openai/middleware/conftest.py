"""A keys file with two keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton_openai.middleware.keys import digest_of
from tests.support.shim_requests import OTHER, SECRET


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"alice sha256:{digest_of(SECRET)}\nbob sha256:{digest_of(OTHER)} concurrency=1\n")
    return file
