"""Addresses of local servers: each process of a model publishes its own in a private folder (engines.process.loads)."""

from __future__ import annotations

import os
from pathlib import Path

from ...engines.process.loads import PrivateFolder, find_facts

_FACTS, _SOCKET = "local", "requests"
"""Names of the files in a process's folder."""


class LocalAddress:
    """The address of this process, one of those of a version of `model` of `repository`, on the server named `server`
    (loads.server_identity). Makes its folder."""

    def __init__(self, server: str, repository: Path, model: str, version: int) -> None:
        self._folder = PrivateFolder()
        self._facts = {
            "server": server,
            "repository": os.path.realpath(repository),
            "model": model,
            "version": version,
        }

    @property
    def socket(self) -> str:
        """The file at which the process is to listen."""
        return f"{self._folder.folder}/{_SOCKET}"

    def publish(self) -> None:
        """From here on it is among the addresses that `all` returns, in each process of the version."""
        self._folder.publish_facts(_FACTS, self._facts)

    def all(self) -> list[str]:
        """The published addresses of the model's processes, of this one and of the others."""
        return sorted(f"{folder}/{_SOCKET}" for folder, facts in find_facts(_FACTS) if facts == self._facts)

    def withdraw(self) -> None:
        """From here on `all` does not return it; clients that are connected stay connected."""
        (self._folder.folder / _FACTS).unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the folder."""
        self._folder.remove()
