"""Loads of engine models: each in a private folder that is found by its facts, and removed once nobody lives there."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen_triton.engines.process import loads
from qwen_triton.engines.process.loads import (
    OwnLoad,
    current_load,
    engine_locator,
    find_loads,
    remove_leftovers,
    server_identity,
)

NewLoad = Callable[..., OwnLoad]


@pytest.fixture
def new(base: Path) -> Iterator[NewLoad]:  # noqa: ARG001  the folder comes first
    made: list[OwnLoad] = []

    def make(repository: str = "/r", model: str = "tensorrt_llm", version: int = 1, server: str = "s") -> OwnLoad:
        made.append(OwnLoad(server, Path(repository), model, version))
        made[-1].publish()
        return made[-1]

    yield make
    for own in made:
        own.remove()


def number(repository: str, model: str = "tensorrt_llm", server: str = "s") -> int | None:
    found = current_load(server, Path(repository), model)
    return found and found.number


def test_the_folder_is_private_its_name_random_and_its_sockets_addresses_short(new: NewLoad) -> None:
    first, second = new(), new()
    assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
    assert re.fullmatch(r"qwen_triton_load_[0-9a-f]{24}", first.folder.name)
    assert first.folder != second.folder
    assert first.load.number != second.load.number
    for address in (first.load.engine_socket, first.load.acks_socket):
        assert len(f"/dev/shm/{Path(address).relative_to(first.folder.parent)}") < 108


def test_the_default_is_a_place_that_the_python_backend_writes_to() -> None:
    assert Path("/dev/shm") == loads._BASE


def test_the_current_load_is_the_latest_of_the_highest_version(new: NewLoad) -> None:
    """A former one is found again when the later one is withdrawn, as when Triton refuses the new version."""
    first = new()
    second = new()
    assert number("/r") == second.load.number
    other = new(version=2)
    again = new(version=1)
    assert number("/r") == other.load.number
    other.withdraw()
    assert number("/r") == again.load.number
    again.withdraw()
    second.withdraw()
    assert number("/r") == first.load.number
    first.withdraw()
    assert number("/r") is None


def test_a_load_is_that_of_its_server_repository_and_model(new: NewLoad, tmp_path: Path) -> None:
    """Where a repository has the model but no load of it yet, that of another one is none."""
    mine, named, foreign = new("/a"), new("/a", "other"), new("/a", server="t")
    assert number("/a") == mine.load.number
    assert number("/a", "other") == named.load.number
    assert number("/a", server="t") == foreign.load.number
    (tmp_path / "tensorrt_llm").mkdir()
    assert number(str(tmp_path)) is None
    assert [load.number for load in find_loads("t")] == [foreign.load.number]


def test_a_repository_without_the_model_uses_the_only_other_one(new: NewLoad) -> None:
    """A server with several repositories and one namespace; with two such models nothing says which is meant."""
    mine = new("/a")
    assert number("/b") == mine.load.number
    new("/c")
    assert number("/b") is None


def test_a_link_to_a_repository_is_the_repository(new: NewLoad, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    made = new(str(tmp_path / "link"))
    assert number(str(tmp_path / "real")) == made.load.number


@pytest.mark.parametrize("forgery", ["open to others", "another user's", "a link", "another's facts", "no facts"])
def test_a_forged_folder_is_not_found(
    new: NewLoad, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgery: str
) -> None:
    facts = new("/x").folder / "facts"
    forged = base / "qwen_triton_load_0"
    forged.mkdir(mode=0o700)
    (forged / "facts").write_text(json.dumps(json.loads(facts.read_text()) | {"model": "m", "folder": str(forged)}))
    assert number("/x", "m") is not None
    if forgery == "open to others":
        forged.chmod(0o711)
    elif forgery == "another user's":
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    elif forgery == "a link":
        forged.rename(tmp_path / "elsewhere")
        forged.symlink_to(tmp_path / "elsewhere")
    elif forgery == "another's facts":
        (forged / "facts").write_text(facts.read_text().replace("tensorrt_llm", "m"))
    else:
        (forged / "facts").write_text('{"server": "s"}')
    assert number("/x", "m") is None


def test_a_locator_looks_five_times_a_second_at_most(new: NewLoad, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(loads.time, "monotonic", lambda: now)
    locate = engine_locator("s", Path("/r"), "tensorrt_llm")
    assert locate() is None
    made = new()
    assert locate() is None
    now += 0.2
    assert locate() == made.load.engine_socket


def test_what_a_crash_left_is_removed_by_the_next_load(base: Path, new: NewLoad) -> None:
    """Not what lives, be it published or not, nor what is so new that it may have no lock yet."""
    code = (
        "import sys, os; from pathlib import Path; from qwen_triton.engines.process import loads; "
        "loads._BASE = Path(sys.argv[1]); own = loads.OwnLoad('s', Path('/r'), 'm', 1); own.publish(); "
        "print(own.folder, flush=True); input()"
    )
    living = new()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        for folder in (left, living.folder):
            os.utime(folder, (1, 1))
        remove_leftovers()
        assert left.exists()
        process.kill()
        process.wait()
    os.utime(left)
    remove_leftovers()
    assert left.exists()
    os.utime(left, (1, 1))
    new()
    assert not left.exists()
    assert living.folder.exists()


def test_a_child_that_inherits_the_lock_keeps_the_folder(new: NewLoad) -> None:
    """As an engine that finishes its sequences after the model's process has died."""
    own = new()
    with subprocess.Popen(["sleep", "60"], pass_fds=(own.lock,)) as child:
        os.close(own.lock)
        os.utime(own.folder, (1, 1))
        remove_leftovers()
        assert own.folder.exists()
        child.kill()
        child.wait()
        remove_leftovers()
        assert not own.folder.exists()
    own.lock = os.open("/", os.O_RDONLY)


def test_a_server_is_named_by_its_process_and_start() -> None:
    mine = server_identity(os.getpid())
    assert mine == server_identity(os.getpid())
    assert mine.split(":")[1] == str(os.getpid())
    assert mine != server_identity(os.getppid())
