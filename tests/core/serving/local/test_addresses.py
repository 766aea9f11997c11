"""Addresses of local servers: found by processes of the same model, in private folders that a crash does not leave behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen_triton.engines.process.loads import OwnLoad, find_loads, remove_leftovers
from qwen_triton.serving.local.addresses import LocalAddress

NewAddress = Callable[..., LocalAddress]
OTHER_PROCESS = """
import sys
from pathlib import Path
from qwen_triton.engines.process import loads
from qwen_triton.serving.local.addresses import LocalAddress
loads._BASE = Path(sys.argv[1])
address = LocalAddress("s", Path("/r"), "bls", 1)
address.publish()
print(address.socket, flush=True)
input()
"""


@pytest.fixture
def new(base: Path) -> Iterator[NewAddress]:  # noqa: ARG001  the folder comes first
    made: list[LocalAddress] = []

    def make(server: str = "s", repository: str = "/r", model: str = "bls", version: int = 1) -> LocalAddress:
        made.append(LocalAddress(server, Path(repository), model, version))
        return made[-1]

    yield make
    for address in made:
        address.remove()


def published(address: LocalAddress) -> LocalAddress:
    address.publish()
    return address


def test_the_folder_is_private_and_the_address_short_enough_for_a_socket(new: NewAddress, base: Path) -> None:
    folder, name = os.path.split(new().socket)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert len(f"/dev/shm/{Path(folder).relative_to(base)}/{name}") < 108


def test_every_process_of_a_model_says_the_addresses_of_all(new: NewAddress) -> None:
    """Those that are published."""
    first, second, third = published(new()), published(new()), new()
    assert first.all() == second.all() == third.all() == sorted([first.socket, second.socket])
    third.publish()
    assert first.all() == sorted([first.socket, second.socket, third.socket])


@pytest.mark.parametrize(
    "other",
    [{"server": "t"}, {"repository": "/q"}, {"model": "other"}, {"version": 2}],
    ids=lambda other: next(iter(other)),
)
def test_a_model_is_that_of_its_server_repository_name_and_version(new: NewAddress, other: dict[str, str]) -> None:
    """The server sends requests to one version; the others have clients of their own."""
    mine, foreign = published(new()), published(new(**other))
    assert mine.all() == [mine.socket]
    assert foreign.all() == [foreign.socket]


def test_a_link_to_a_repository_is_the_repository(new: NewAddress, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    first, second = (published(new(repository=str(tmp_path / name))) for name in ("real", "link"))
    assert first.all() == sorted([first.socket, second.socket])


def test_nobody_is_told_of_an_address_that_is_withdrawn(new: NewAddress) -> None:
    """Its socket stays where it is, for those who are connected. A second time changes nothing."""
    first, second = published(new()), published(new())
    Path(first.socket).touch()
    first.withdraw()
    first.withdraw()
    assert first.all() == second.all() == [second.socket]
    assert Path(first.socket).exists()


def test_a_folder_goes_with_its_address(new: NewAddress) -> None:
    address = LocalAddress("s", Path("/r"), "bls", 1)
    address.publish()
    address.remove()
    assert not Path(address.socket).parent.exists()
    assert new().all() == []


def test_engines_and_local_servers_are_not_taken_for_each_other(new: NewAddress) -> None:
    engine = OwnLoad("s", Path("/r"), "bls", 1)
    engine.publish()
    address = published(new())
    assert address.all() == [address.socket]
    assert [load.folder for load in find_loads("s")] == [str(engine.folder)]
    engine.remove()


def test_a_folder_that_is_open_to_others_is_not_found(new: NewAddress) -> None:
    address = published(new())
    Path(address.socket).parent.chmod(0o711)
    assert address.all() == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(base: Path, new: NewAddress) -> None:
    """Not before it has died."""
    mine = published(new())
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        folders = [Path(left).parent, Path(mine.socket).parent]
        for folder in folders:
            os.utime(folder, (1, 1))
        remove_leftovers()
        assert mine.all() == sorted([mine.socket, left])
        process.kill()
        process.wait()
    again = published(new())
    assert again.all() == sorted([mine.socket, again.socket])
    assert [folder.exists() for folder in folders] == [False, True]
