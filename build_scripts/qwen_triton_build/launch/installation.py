"""Finds tritonserver on this machine: in /opt/tritonserver, or in the package nvidia-pytriton (binary and stubs)."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from qwen_triton.errors import ConfigurationError

INSTALL = "pip install --no-deps nvidia-pytriton==0.7.0"
PYTHONS = ((3, 10), (3, 11), (3, 12))
_OPT = Path("/opt/tritonserver")


@dataclass(frozen=True)
class Installation:
    """Paths of the server's binary, its backends, and the library folders that it needs besides the system's."""

    binary: Path
    backends: Path
    libraries: tuple[Path, ...]
    packaged: bool


def find_installation(binary: Path | None = None) -> Installation:
    """The given binary, else /opt/tritonserver, else nvidia-pytriton. Raises ConfigurationError with the remedy."""
    if binary is not None:
        if not os.access(binary, os.X_OK):
            raise ConfigurationError(f"server.tritonserver: {binary} is not an executable file")
        return Installation(binary, binary.parent.parent / "backends", (), packaged=False)
    if (_OPT / "bin" / "tritonserver").exists():
        return Installation(_OPT / "bin" / "tritonserver", _OPT / "backends", (), packaged=False)
    return _packaged()


def _packaged() -> Installation:
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"no tritonserver in {_OPT} and no package nvidia-pytriton; run: {INSTALL}")
    package = Path(spec.submodule_search_locations[0])
    server = package / "tritonserver"
    libraries = (package.parent / "nvidia_pytriton.libs", python_library().parent)
    return Installation(server / "bin" / "tritonserver", server / "backends", libraries, packaged=True)


def python_library() -> Path:
    """The shared libpython of this interpreter, which the Python stub loads. Raises ConfigurationError without one."""
    if sys.version_info[:2] not in PYTHONS:
        raise ConfigurationError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} has no stub; use one of "
            + ", ".join(f"{a}.{b}" for a, b in PYTHONS)
        )
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    found = next((f / name for f in _library_folders() if os.access(f / name, os.R_OK)), None)
    if found is None:
        raise ConfigurationError(
            f"no {name}: this Python was built without a shared library; install Debian's libpython3-dev, "
            "or build with --enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)"
        )
    return found


def _library_folders() -> list[Path]:
    folders = sysconfig.get_config_vars("LIBDIR", "LIBPL", "MULTIARCH")
    system = Path("/usr/lib") / (folders.pop() or "x86_64-linux-gnu")
    return [*(Path(folder) for folder in folders if folder), Path(sys.base_prefix) / "lib", system]


def prepare_backends(installation: Installation, folder: Path) -> Path:
    """The backend folder for this Python: a packaged server has a stub per Python version, and this one's is copied in."""
    if not installation.packaged:
        return installation.backends
    target = folder / "backends" / "python"
    target.mkdir(parents=True)
    for file in (installation.backends / "python").iterdir():
        if file.name != "triton_python_backend_stub":
            (target / file.name).symlink_to(file)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = installation.backends.parent / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, target)
    (target / stub.name).chmod(0o755)
    return target.parent
