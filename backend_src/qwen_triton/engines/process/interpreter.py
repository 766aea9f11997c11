"""The Python that runs an engine's process: the models' own, or one that an engine's library needs for itself.

Triton's Python stub wants numpy below 2, a GPU engine brings its own numpy and torch; so such an engine has an
environment of its own. Of this distribution it gets the package qwen_triton alone, on PYTHONPATH: with the models'
site-packages it would get their numpy too. Knows no engine's library but by name.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parents[2]
"""The folder of the package qwen_triton."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The executable, and the environment of its process; None = that of this process."""

    python: str
    environment: Mapping[str, str] | None = None


def find_interpreter(python: str | None, library: str, folder: str) -> Interpreter:
    """The interpreter of an engine that needs `library`.

    `python`: as the deployment names it. Without one, this interpreter if it has the library, else that of the virtual
    environment `folder` ("": there is none) below the working directory or beside the source. Raises ConfigurationError
    where there is none.
    """
    if python is None and (not library or find_spec(library) is not None):
        return Interpreter(sys.executable)
    if python is not None:
        found = shutil.which(str(Path(python).expanduser()))
        if found is None:
            raise ConfigurationError(f"engine.python: {python} is no program here; give the path of an interpreter")
    else:
        found = _of_environment(folder) if folder else None
        if found is None:
            made = f"`make vllm` installs it into {folder}, or " if folder else ""
            raise ConfigurationError(
                f"engine: {library} is in no interpreter here; {made}name one that has it as engine.python"
            )
    if Path(found).absolute() == Path(sys.executable).absolute():
        return Interpreter(sys.executable)
    return Interpreter(found, _environment())


def _of_environment(folder: str) -> str | None:
    """The interpreter of a virtual environment, of the first place that has it."""
    places = (Path.cwd(), *_PACKAGE.parents[1:3])
    return next((str(p / folder / "bin/python") for p in places if (p / folder / "bin/python").is_file()), None)


def _environment() -> dict[str, str]:
    """This process's environment with nothing of its own Python in it, and the package alone on PYTHONPATH."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PYTHONPATH": str(_package_alone())}


def _package_alone() -> Path:
    """A folder that holds the package and nothing else that can be imported."""
    parent = _PACKAGE.parent
    if all(
        entry.name in (_PACKAGE.name, "__pycache__") or entry.name.endswith(".egg-info") for entry in parent.iterdir()
    ):
        return parent
    folder = Path(tempfile.mkdtemp(prefix="qwen-triton-package-"))
    (folder / _PACKAGE.name).symlink_to(_PACKAGE, target_is_directory=True)
    return folder
