"""The instance of a model that this process runs: its labels in metrics, and where its engine is found.

Everything comes from Triton's `initialize` arguments and the server's command line, so that a model may have any name,
version and number of instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..engines.process.loads import OwnLoad, engine_locator, server_identity
from ..engines.triton_model.server_address import is_set, server_flags
from ..serving.local.addresses import LocalAddress
from .model_process import server_pid
from .requests import repository_of


@dataclass(frozen=True)
class ModelInstance:
    """One instance of a model. `namespace`: its repository, on a server with --model-namespacing; else empty.

    `server`: identity of the server's process (`loads.server_identity`).
    """

    model: str
    version: str
    name: str
    repository: Path
    namespace: str
    server: str

    @classmethod
    def read(cls, args: Mapping[str, str]) -> ModelInstance:
        """The instance that Triton's arguments describe, in a process that the server started."""
        repository, server = repository_of(args), server_pid()
        return cls(
            args["model_name"],
            args["model_version"],
            args["model_instance_name"],
            repository,
            str(repository) if is_set(server_flags(server), "model-namespacing") else "",
            server_identity(server),
        )

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the instance's metrics: Triton's own, and the name of the instance.

        Prometheus gives a label `instance` to every scraped server, so this one is `model_instance`.
        """
        labels = {"model": self.model, "version": self.version, "model_instance": self.name}
        return labels | ({"namespace": self.namespace} if self.namespace else {})

    def new_load(self) -> OwnLoad:
        """A load of this engine model, not published yet."""
        return OwnLoad(self.server, self.repository, self.model, int(self.version))

    def new_local_address(self) -> LocalAddress:
        """The address of this process's local server, not published yet."""
        return LocalAddress(self.server, self.repository, self.model, int(self.version))

    def locate_engine(self, model: str) -> Callable[[], str | None]:
        """A function that says where the current engine of `model` of this repository listens."""
        return engine_locator(self.server, self.repository, model)
