"""What is installed is what is here: a package or a file that pyproject.toml forgets works in the source folder alone."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.folders import ROOT

SETTINGS: dict[str, Any] = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(
    (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)["tool"]["setuptools"]
FOLDERS = {name: ROOT / folder for name, folder in SETTINGS["package-dir"].items()}


def packages() -> dict[str, Path]:
    """{name: folder} of every folder with an __init__.py."""
    return {
        ".".join([name, *file.parent.relative_to(folder).parts]): file.parent
        for name, folder in FOLDERS.items()
        for file in folder.rglob("__init__.py")
    }


def test_every_package_is_installed() -> None:
    assert set(SETTINGS["packages"]) == set(packages())


def test_every_file_of_a_package_is_installed() -> None:
    """Data files are found by package-data's patterns."""
    forgotten = []
    for name, folder in FOLDERS.items():
        for file in folder.rglob("*"):
            if file.is_dir() or file.suffix in (".py", ".pyc", ".typed") or "egg-info" in str(file):
                continue
            owner = next(p for p in file.parents if p in packages().values())
            (package,) = [n for n, p in packages().items() if p == owner]
            patterns = SETTINGS["package-data"].get(package, [])
            if not any(fnmatch(str(file.relative_to(owner)), pattern) for pattern in patterns):
                forgotten.append(f"{name}: {file.relative_to(ROOT)}")
    assert forgotten == []


def test_every_file_of_the_model_repository_is_installed() -> None:
    listed = {path for paths in SETTINGS["data-files"].values() for path in paths}
    here = {
        str(f.relative_to(ROOT)) for f in (ROOT / "model_repository").rglob("*") if f.is_file() and f.suffix != ".pyc"
    }
    assert here == listed
