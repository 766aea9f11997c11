"""Checks of the machine: the requirements of tritonserver, of its Python stub and of the shim."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..launch.installation import find_installation, python_library
from ..launch.managed_processes import missing_shim_packages
from ..launch.preflight import check_glibc, check_numpy, check_ports, check_shared_memory
from ..processes import ChildProcess
from .check import Check, CheckWarning
from .site import Site
from .triton_bulletins import NEWEST, Release, format_release, parse_release, unfixed

_FILES = 4096
_SHM_MIB = 64
_DISK_MIB = 256
_PACKAGED = {"0.7.0": "2.51.0"}
"""{release of nvidia-pytriton: the release of tritonserver in it}."""
_RELEASES: dict[str, Release] = {"2.51.0": (24, 10)}
"""{release of tritonserver: the container that has it}."""
_PROBE_S = 10
_CLOSE = f"take an image of {format_release(NEWEST)} or newer, or put the port on loopback by server.expose (docs/security.md)"


def glibc(_: Site) -> str:
    check_glibc()
    return platform.libc_ver()[1] or platform.libc_ver()[0] or "not glibc"


def libpython(_: Site) -> str:
    return str(python_library())


def numpy(_: Site) -> str:
    check_numpy()
    return version("numpy")


def tritonserver(site: Site) -> str:
    installation = find_installation(site.deployment.server.tritonserver)
    return f"{server_version(site, installation.packaged)} in {installation.binary.parent.parent}"


def server_version(site: Site, packaged: bool) -> str:
    """The server's release, as far as it is known without starting it."""
    if not packaged:
        return site.environment.get("TRITON_SERVER_VERSION", "an unknown release")
    try:
        return _PACKAGED.get(version("nvidia-pytriton"), "an unknown release")
    except PackageNotFoundError:
        return "an unknown release"


def open_triton(site: Site) -> str:
    """Triton's own HTTP and gRPC take no API key; whoever reaches them can use what the release has of vulnerabilities."""
    server = site.deployment.server
    release = server_release(site)
    doors = [f"{door} at {server.host_of(door)}" for door in ("http", "grpc") if not _is_loopback(server.host_of(door))]
    if not doors:
        return "HTTP and gRPC on loopback"
    where = f"Triton's {' and '.join(doors)}"
    if release is None:
        raise CheckWarning(f"{where}, of a release that is not known here; {_CLOSE}")
    numbers = unfixed(release, server.open_apis)
    if numbers:
        raise CheckWarning(
            f"{where}, of release {format_release(release)}, "
            f"has {len(numbers)} known vulnerabilities: {', '.join(numbers)}; {_CLOSE}"
        )
    return f"{where}, of release {format_release(release)}"


def server_release(site: Site) -> Release | None:
    """The release of the server's container, or of the package's equal; None where it is not known."""
    packaged = find_installation(site.deployment.server.tritonserver).packaged
    if packaged:
        return _RELEASES.get(server_version(site, packaged))
    return parse_release(site.environment.get("NVIDIA_TRITON_SERVER_VERSION", ""))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def private_files(_: Site) -> str:
    """Whether the server's shared memory, where prompts are, can be kept from other users of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probe"
        code = "import os, sys; os.fchmod(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), 0o644)"
        probe = ChildProcess([sys.executable, "-S", "-c", code, str(file)], os.environ)
        probe.start()
        probe.wait(_PROBE_S)
        if not file.exists() or file.stat().st_mode & 0o077:
            raise CheckWarning(
                "this kernel takes no filter (seccomp), so other users of the machine can read prompts in /dev/shm; "
                "serve on a machine or in a container without other users"
            )
    return "shared memory, logs and temporary files are the server's user's alone"


def python_environment(_: Site) -> str:
    """The stub takes its packages from the python3 that is first in PATH; `serve` puts this one there."""
    if not (Path(sys.executable).parent / "python3").exists():
        raise ConfigurationError(
            f"{sys.executable} has no python3 beside it; run qwen-triton from a virtual environment"
        )
    return f"Python {platform.python_version()} in {sys.prefix}"


def shared_memory(_: Site) -> str:
    check_shared_memory()
    free = shutil.disk_usage("/dev/shm").free >> 20
    if free < _SHM_MIB:
        raise CheckWarning(
            f"/dev/shm has {free} MiB free; many requests at once may fill it, in a container give --shm-size 256m"
        )
    return f"{free} MiB free"


def ports(site: Site) -> str:
    server, openai = site.deployment.server, site.deployment.openai
    check_ports(server, openai if openai.enabled else None)
    shim = [openai.port] if openai.enabled else []
    return ", ".join(map(str, [server.http_port, server.grpc_port, server.metrics_port, *shim])) + " are free"


def open_files(_: Site) -> str:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft not in (-1, resource.RLIM_INFINITY) and soft < _FILES:
        raise CheckWarning(
            f"{soft}, every connection takes some; ulimit -n 65536, in a container --ulimit nofile=65536:65536"
        )
    return str(soft)


def locked_memory(site: Site) -> str:
    """NCCL and TensorRT-LLM pin host memory; with a low limit they fail with an error of CUDA."""
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if site.is_built and soft != resource.RLIM_INFINITY:
        raise CheckWarning(
            f"{soft >> 10} KiB of memory may be locked; ulimit -l unlimited, in a container --ulimit memlock=-1"
        )
    return "unlimited" if soft == resource.RLIM_INFINITY else f"{soft >> 10} KiB, and this engine locks none"


def disk(_: Site) -> str:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free >> 20
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(
            f"{folder} cannot be written; set TMPDIR, or in a read-only container give --tmpfs /tmp"
        )
    if free < _DISK_MIB:
        raise CheckWarning(f"{folder} has {free} MiB free; make room or set TMPDIR")
    return f"{free} MiB free in {folder}"


def shim(site: Site) -> str:
    if not site.deployment.openai.enabled:
        return "not asked for"
    missing = missing_shim_packages()
    if missing:
        raise CheckWarning(f"{missing[0]} is not installed: no OpenAI API; pip install 'qwen-triton[shim]'")
    return f"installed, for port {site.deployment.openai.port}"


_PORTS = Check("ports", "free, and each given once", ports)
_SHIM = Check("OpenAI shim", "its packages, unless openai.enabled is false", shim)
OF_SERVING = (_PORTS, _SHIM)
"""Checks of what a model repository does not say."""
CHECKS = (
    Check("glibc", "2.35 or newer", glibc),
    Check("libpython", "a shared libpython of 3.10, 3.11 or 3.12", libpython),
    Check("python environment", "an environment that the stub can be given", python_environment),
    Check("numpy", "below 2", numpy),
    Check("tritonserver", "an installed server", tritonserver, needs="libpython"),
    Check(
        "open Triton", f"on loopback, or release {format_release(NEWEST)} or newer", open_triton, needs="tritonserver"
    ),
    Check("private files", "a kernel that takes a filter (seccomp)", private_files),
    Check("shared memory", f"{_SHM_MIB} MiB or more", shared_memory),
    _PORTS,
    Check("open files", f"{_FILES} or more", open_files),
    Check("locked memory", "unlimited for TensorRT-LLM", locked_memory),
    Check("disk", f"{_DISK_MIB} MiB for temporary files", disk),
    _SHIM,
)
