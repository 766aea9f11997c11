"""Names: a public class is defined once in the repository, and a module imports no two modules of one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.folders import ROOT

FILES = [
    file
    for source in ("backend_src", "build_scripts", "client", "demo")
    for file in sorted((ROOT / source).rglob("*.py"))
]
SAME_ROLE = frozenset(("client", "engine", "errors", "messages", "options", "server", "settings"))
"""Names that modules of one role share, each in a folder of its own."""


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_a_public_class_has_its_name_alone() -> None:
    """One name, one thing: a reader finds a class by its name."""
    defined = defaultdict(list)
    for file in FILES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(name(file))
    assert {found: files for found, files in defined.items() if len(files) > 1} == {}


@pytest.mark.parametrize("file", FILES, ids=name)
def test_modules_imported_together_have_names_apart(file: Path) -> None:
    """Save those of one role: `errors` of the core beside the shim's own."""
    imported = defaultdict(set)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and (node.level or node.module.startswith("qwen_triton")):
            imported[node.module.rpartition(".")[2]].add("." * node.level + node.module)
    alike = {found: sorted(paths) for found, paths in imported.items() if len(paths) > 1 and found not in SAME_ROLE}
    assert alike == {}
