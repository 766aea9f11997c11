"""The source modules of the five packages as syntax trees, for tests that hold the whole repository to its rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.folders import ROOT

PACKAGES = {
    "qwen_triton": ROOT / "backend_src" / "qwen_triton",
    "qwen_triton_client": ROOT / "client" / "qwen_triton_client",
    "qwen_triton_openai": ROOT / "client" / "qwen_triton_openai",
    "qwen_triton_build": ROOT / "build_scripts" / "qwen_triton_build",
    "qwen_triton_bench": ROOT / "client" / "qwen_triton_bench",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PublicFunction:
    """A module's function, or a class's method (`owner`), without a leading underscore in any of its names.

    A class's `__init__` counts too; its documentation is the docstring of the class.
    """

    module: Path
    node: Function
    owner: ast.ClassDef | None = None

    @property
    def name(self) -> str:
        """`engines/link.py: EngineLink.submit`, the file relative to its package's parent folder."""
        base = next(folder for folder in PACKAGES.values() if folder in self.module.parents)
        owner = f"{self.owner.name}." if self.owner else ""
        return f"{self.module.relative_to(base.parent)}: {owner}{self.node.name}"

    @property
    def doc(self) -> str:
        documented = self.owner if self.owner and self.node.name == "__init__" else self.node
        return ast.get_docstring(documented) or ""

    def body(self) -> Iterator[ast.AST]:
        """Every node of the body but those of functions and classes defined inside it."""
        waiting: list[ast.AST] = list(self.node.body)
        while waiting:
            node = waiting.pop()
            yield node
            if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
                waiting.extend(ast.iter_child_nodes(node))


@cache
def modules() -> dict[Path, ast.Module]:
    """{file: tree} of every module of the five packages."""
    return {f: ast.parse(f.read_text()) for folder in PACKAGES.values() for f in sorted(folder.rglob("*.py"))}


def public_functions() -> Iterator[PublicFunction]:
    """Functions and methods that other modules may call."""
    for file, tree in modules().items():
        for node in tree.body:
            if isinstance(node, Function) and not node.name.startswith("_"):
                yield PublicFunction(file, node)
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for method in node.body:
                    if isinstance(method, Function) and (method.name[0] != "_" or method.name == "__init__"):
                        yield PublicFunction(file, method, node)


def public_classes() -> Iterator[tuple[str, Path]]:
    """(name, file) of each class defined at the top of a module without a leading underscore."""
    for file, tree in modules().items():
        yield from ((n.name, file) for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))
