"""A process's log is its user's alone; one that an operator made keeps the mode that they gave it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_triton_build.launch.log import ServerLog


@pytest.fixture(autouse=True)
def _wide_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_log_is_private_and_an_old_one_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "state" / "log"
    for text in ("first\n", "second\n"):
        log = ServerLog(str(file))
        os.write(log.open(), text.encode())
        log.close()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text() == text


def test_a_log_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """A log shipper of another user may have to read it."""
    file = tmp_path / "log"
    file.touch()
    file.chmod(0o640)
    log = ServerLog(str(file))
    log.open()
    log.close()
    assert file.stat().st_mode & 0o777 == 0o640
