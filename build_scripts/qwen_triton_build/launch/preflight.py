"""Requirements that are checked before tritonserver starts: glibc, numpy, shared memory, ports, a folder to write to."""

from __future__ import annotations

import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from qwen_triton.errors import ConfigurationError
from qwen_triton_openai.settings import ShimSettings

from ..deployment.file import PORTS
from ..deployment.schema import LOOPBACK, Server

_GLIBC = (2, 35)
_SHM = Path("/dev/shm")
_SHM_BYTES = 5 * (1 << 20)
"""Shared memory of four Python models: the server gives each 1 MiB at the start, and they need room to grow."""


@contextmanager
def work_folder() -> Iterator[Path]:
    """An empty folder for what one run needs; removed at its end. Raises ConfigurationError where none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="qwen-triton-")
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"no temporary folder can be written ({reason}); set TMPDIR to a folder that can, or mount one at /tmp"
        ) from None
    with folder as path:
        yield Path(path)


def check_machine() -> None:
    """Raises ConfigurationError, with the remedy, for a requirement of the server or its Python stub that is not met."""
    check_glibc()
    check_numpy()
    check_shared_memory()


def check_glibc() -> None:
    """Raises ConfigurationError for a glibc older than 2.35, against which the server and its stub are built."""
    name, glibc = platform.libc_ver()
    if name == "glibc" and tuple(map(int, glibc.split(".")[:2])) < _GLIBC:
        raise ConfigurationError(f"glibc {glibc} is too old, 2.35 is needed; use Debian 12, Ubuntu 22.04 or newer")


def check_numpy() -> None:
    """Raises ConfigurationError for numpy 2: Triton's Python stub, which runs in this environment, garbles its arrays."""
    numpy = version("numpy")
    if int(numpy.split(".")[0]) >= 2:
        raise ConfigurationError(f"numpy {numpy} breaks Triton's Python stub; run: pip install 'numpy<2'")


def check_shared_memory() -> None:
    """Raises ConfigurationError when /dev/shm is too small.

    Tensors pass through it between the server and its Python models.
    """
    free = shutil.disk_usage(_SHM).free
    if free < _SHM_BYTES:
        raise ConfigurationError(
            f"{_SHM} has {free >> 20} MiB free, {_SHM_BYTES >> 20} are needed; in a container give --shm-size 256m"
        )


def check_ports(server: Server, openai: ShimSettings | None = None) -> None:
    """Raises ConfigurationError naming the first port that is taken or given twice, and what moves it."""
    sections: dict[str, Server | ShimSettings | None] = {"server": server, "openai": openai}
    keys: dict[int, str] = {}
    for variable, (name, key) in PORTS.items():
        section = sections[name]
        if section is None:
            continue
        port, path = int(getattr(section, key)), f"{name}.{key}"
        if port in keys:
            raise ConfigurationError(f"{path}: port {port} is {keys[port]} already; {_remedy(variable)}")
        keys[port] = path
        _check_port(_host(section, key), port, path, variable)


def _host(section: Server | ShimSettings, key: str) -> str:
    """The address at which the port of this key listens."""
    exposed = not isinstance(section, Server) or key.removesuffix("_port") in section.expose
    return section.host if exposed else LOOPBACK


def _check_port(host: str, port: int, path: str, variable: str) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise ConfigurationError(f"{path.split('.')[0]}.host: {host!r} is no address of this machine") from None
    except OSError as error:
        reason = f"{path}: port {port} cannot be used ({error.strerror}); stop what holds it, or "
        raise ConfigurationError(reason + _remedy(variable)) from None


def _remedy(variable: str) -> str:
    return f"give another: {variable}=… or in the deployment"
