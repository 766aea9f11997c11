"""What must hold before tritonserver is started; each fault says what was found and the remedy."""

from __future__ import annotations

import platform
import shutil
import socket
from importlib.metadata import version

from qwen_triton.errors import ConfigurationError
from qwen_triton_client.openai_shim.settings import ShimSettings

from .deployment import Server

_GLIBC = (2, 35)
_SHM_BYTES = 5 * (1 << 20)
"""Shared memory of four Python models: 1 MiB each at the start (set by the server's command line), and room to grow."""


def check_machine() -> None:
    """Raises ConfigurationError for a glibc, a numpy or a /dev/shm that the server or its Python stub cannot use."""
    name, glibc = platform.libc_ver()
    if name == "glibc" and tuple(map(int, glibc.split(".")[:2])) < _GLIBC:
        raise ConfigurationError(f"glibc {glibc} is too old, 2.35 is needed: use Debian 12, Ubuntu 22.04 or newer")
    numpy = version("numpy")
    if int(numpy.split(".")[0]) >= 2:
        raise ConfigurationError(f"numpy {numpy} breaks Triton's Python stub; run: pip install 'numpy<2'")
    free = shutil.disk_usage("/dev/shm").free
    if free < _SHM_BYTES:
        raise ConfigurationError(
            f"/dev/shm has {free >> 20} MiB free, {_SHM_BYTES >> 20} are needed: in a container give --shm-size 256m"
        )


def check_ports(server: Server, openai: ShimSettings | None = None) -> None:
    """Raises ConfigurationError naming the first port that is taken, and the key that moves it."""
    for key in ("http_port", "grpc_port", "metrics_port"):
        check_port(f"server.{key}", server.host, getattr(server, key), key.upper())
    if openai is not None and openai.enabled:
        check_port("openai.port", openai.host, openai.port, "OPENAI_PORT")


def check_port(key: str, host: str, port: int, variable: str) -> None:
    """Raises ConfigurationError when nothing can listen there; `key` and `variable` are what moves it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"{key}: port {port} cannot be used ({error.strerror}); "
                f"stop what holds it, or give another: {variable}=… or in the deployment"
            ) from None
