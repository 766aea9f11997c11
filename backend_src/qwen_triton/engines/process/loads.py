"""Private folders for the sockets of models, and loads: which load of an engine model is current.

A private folder has a random name, so that no other user can have made it first or can look into it. It is in /dev/shm,
where Triton's Python backend must be able to write in any case, so it works in a read-only container, and its name is
short enough for a socket's address. A lock on the folder lasts as long as the process that made it, or a child that inherits
the lock; a folder without one was left by a crash and is removed when the next one is made.

A load is one life of an engine model between Triton's load and unload; while a model is reloaded there are two. Its folder
holds

    engine     socket of the engine's process
    acks       socket of the model for acknowledgements
    facts      which model of which server this is; present while new requests may go there
    failure    why the engine's process did not start

Nothing has to be configured: a model finds the loads of its own server by their facts. Processes of the BLS have private
folders too (serving.local.addresses).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_BASE = Path("/dev/shm")
_PREFIX = "qwen_triton_load_"
_FACTS = "facts"
_NUMBER_BITS = 31
_UNLOCKED_S = 10.0
"""A folder without a lock is a leftover from this age on: a new one has none for a moment."""
FRESH_S = 0.2
"""Seconds between two looks for the current load; a superseded one serves far longer than that."""


@dataclass(frozen=True)
class EngineLoad:
    """One load of an engine model. `server`: `server_identity` of its tritonserver; `since_ns`: when it was published.

    `number`: random, below 2**31; names the load in the tags of its chunks.
    """

    server: str
    repository: str
    model: str
    version: int
    number: int
    since_ns: int
    folder: str

    @property
    def engine_socket(self) -> str:
        return f"{self.folder}/engine"

    @property
    def acks_socket(self) -> str:
        return f"{self.folder}/acks"


class PrivateFolder:
    """A folder of this process with a lock, which others of the same user find by the facts that are published in it."""

    def __init__(self) -> None:
        remove_leftovers()
        self.folder = _BASE / f"{_PREFIX}{secrets.token_hex(12)}"
        self.folder.mkdir(mode=0o700)
        self.lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        """Descriptor of the folder's lock; a child process that inherits it keeps the lock."""
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def publish_facts(self, name: str, facts: Mapping[str, Any]) -> None:
        """Writes the file `name`, which `find_facts` finds."""
        hidden = self.folder / f".{name}"
        hidden.write_text(json.dumps(facts), encoding="utf-8")
        hidden.rename(self.folder / name)

    def remove(self) -> None:
        """Removes the folder. Nothing can be reached in it from here on."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


class OwnLoad(PrivateFolder):
    """The load that this process serves: makes its folder, and publishes, withdraws and removes it."""

    def __init__(self, server: str, repository: Path, model: str, version: int) -> None:
        super().__init__()
        number = secrets.randbits(_NUMBER_BITS)
        self.load = EngineLoad(server, os.path.realpath(repository), model, version, number, 0, str(self.folder))

    def publish(self) -> None:
        """From here on other models of the server find the load."""
        self.publish_facts(_FACTS, asdict(self.load) | {"since_ns": time.monotonic_ns()})

    def withdraw(self) -> None:
        """From here on other models do not find it; those that are connected stay connected."""
        withdraw_load(self.folder)

    def failure(self) -> str:
        """Why the engine's process did not start, in its own words; empty where it said nothing."""
        with contextlib.suppress(OSError):
            return (self.folder / "failure").read_text(encoding="utf-8")
        return ""


def withdraw_load(folder: Path) -> None:
    """Makes the load of this folder one that nobody finds."""
    (folder / _FACTS).unlink(missing_ok=True)


def server_identity(pid: int) -> str:
    """Names one life of the server process `pid`, also among containers that share /dev/shm."""
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    started = status.rpartition(")")[2].split()[19]
    return f"{os.stat('/proc/self/ns/pid').st_ino}:{pid}:{started}"


def find_facts(name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders in which a file `name` is published, each with its facts."""
    for folder in _own_folders():
        with contextlib.suppress(OSError, ValueError, TypeError):  # not published, or removed meanwhile
            yield folder, dict(json.loads((folder / name).read_text(encoding="utf-8")))


def find_loads(server: str) -> list[EngineLoad]:
    """The published loads of this server, of all its engine models."""
    found = []
    for folder, facts in find_facts(_FACTS):
        with contextlib.suppress(TypeError):
            load = EngineLoad(**facts)
            if load.server == server and load.folder == str(folder):
                found.append(load)
    return found


def current_load(server: str, repository: Path, model: str) -> EngineLoad | None:
    """The load to which new requests for `model` of `repository` go: of the highest version, the latest.

    Where the repository has no such model, that of the server's only other repository which has one.
    """
    loads = [load for load in find_loads(server) if load.model == model]
    own = [load for load in loads if load.repository == os.path.realpath(repository)]
    if not own and not (repository / model).exists() and len({load.repository for load in loads}) == 1:
        own = loads
    return max(own, key=lambda load: (load.version, load.since_ns), default=None)


def engine_locator(server: str, repository: Path, model: str) -> Callable[[], str | None]:
    """A function that says where the current engine of a model listens; None where there is none.

    It looks at most five times a second, so that it may be called for each request.
    """
    looked_at, found = -FRESH_S, ""

    def locate() -> str | None:
        nonlocal looked_at, found
        now = time.monotonic()
        if now - looked_at >= FRESH_S:
            load = current_load(server, repository, model)
            looked_at, found = now, load.engine_socket if load else ""
        return found or None

    return locate


def remove_leftovers() -> None:
    """Removes folders of loads whose processes were all killed."""
    for folder in _own_folders():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _UNLOCKED_S and not _is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _own_folders() -> Iterator[Path]:
    """Folders of loads that belong to this user and are closed to all others."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(_BASE)):
            if entry.name.startswith(_PREFIX) and _is_private(entry):
                yield Path(entry.path)


def _is_private(entry: os.DirEntry[str]) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # removed meanwhile
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
