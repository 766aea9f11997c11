"""Packages import only from their left, and only the edges import what belongs to them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import PACKAGES

MAY_IMPORT = {
    "qwen_triton": set[str](),
    "qwen_triton_client": {"qwen_triton"},
    "qwen_triton_openai": {"qwen_triton"},
    "qwen_triton_build": {"qwen_triton", "qwen_triton_client", "qwen_triton_openai"},
    "qwen_triton_bench": {"qwen_triton", "qwen_triton_client", "qwen_triton_openai", "qwen_triton_build"},
}
CORE = [
    "errors", "types", "forms", "checkpoint", "text", "chat", "tensors", "kserve", "model_config", "engines",
    "preprocess", "serving", "ensemble", "triton",
]  # fmt: skip
"""The packages and modules of qwen_triton, left to right; each may import from those before it."""


def modules(package: str) -> list[Path]:
    return sorted((PACKAGES[package]).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Absolute dotted names of what a module imports, at any depth of its code, the imported names included."""
    package, folder = next((p, f) for p, f in PACKAGES.items() if f in file.parents)
    here = [package, *file.relative_to(folder).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*here[: len(here) + 1 - node.level], *filter(None, [node.module])])
                if node.level
                else node.module
            )
            yield from (f"{base}.{alias.name}" for alias in node.names)


def name(file: Path) -> str:
    package = next(p for p, f in PACKAGES.items() if f in file.parents)
    return f"{package}/{file.relative_to(PACKAGES[package])}"


FILES = [file for package in PACKAGES for file in modules(package)]


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_package_imports_only_from_packages_before_it(file: Path) -> None:
    """The core knows nobody; a client knows the core; what builds and serves knows them; the benchmark knows all."""
    package = name(file).split("/")[0]
    others = {found.split(".")[0] for found in imported(file)} & set(PACKAGES) - {package}
    assert others <= MAY_IMPORT[package]


@pytest.mark.parametrize("file", modules("qwen_triton"), ids=name)
def test_a_part_of_the_core_imports_only_from_its_left(file: Path) -> None:
    """No circles, no shortcuts: the order of the design is the order of the imports."""
    part = file.relative_to(PACKAGES["qwen_triton"]).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    parts = {found.split(".")[1] for found in imported(file) if found.startswith("qwen_triton.")}
    right = {r for r in parts if CORE.index(r) > CORE.index(part)}
    assert not right, f"{part} imports {sorted(right)} from its right"


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_each_other_in_no_circle(package: str) -> None:
    """Within a package too."""
    dotted = {name(f).removesuffix(".py").removesuffix("/__init__").replace("/", "."): f for f in modules(package)}
    arrows = {
        m: {n for n in (_module(found, dotted) for found in imported(f)) if n and n != m} for m, f in dotted.items()
    }
    while leaves := [m for m, targets in arrows.items() if not targets & arrows.keys()]:
        for leaf in leaves:
            del arrows[leaf]
    assert sorted(arrows) == []


def _module(found: str, known: dict[str, Path]) -> str | None:
    """The module that an imported name comes from: the longest known beginning of it that is not a package's face."""
    parts = found.split(".")
    return next((m for m in (".".join(parts[:n]) for n in range(len(parts), 1, -1)) if m in known), None)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_holds_a_few_modules_and_says_what_it_is(package: str) -> None:
    """3 to 12 modules or folders, 13 in a package's own; what it is, what it does not know and what it imports."""
    for face in (PACKAGES[package]).rglob("__init__.py"):
        held = [p for p in face.parent.iterdir() if p != face and (p.suffix == ".py" or (p / "__init__.py").is_file())]
        assert 3 <= len(held) <= (13 if face.parent == PACKAGES[package] else 12), face
        doc = ast.get_docstring(ast.parse(face.read_text())) or ""
        assert len(doc.split()) >= 15, f"{face} does not say what the folder is"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        (
            "triton_python_backend_utils",
            (
                "qwen_triton/triton/",
                "qwen_triton_bench/overhead/one_token_engine.py",
                "qwen_triton_bench/overhead/floor_model.py",
            ),
        ),
        ("openvino", "qwen_triton/engines/openvino/"),
        ("openvino_genai", "qwen_triton/engines/openvino/"),
        ("vllm", "qwen_triton/engines/vllm/core.py"),
        ("tensorrt_llm", "qwen_triton/engines/llmapi/core.py"),
        ("fastapi", "qwen_triton_openai/"),
        ("aiohttp", "qwen_triton_bench/"),
        ("tritonclient", "qwen_triton_build/"),
    ],
)
def test_an_edge_s_library_is_imported_only_there(library: str, allowed: str | tuple[str, ...]) -> None:
    """Triton's, an engine's and HTTP's libraries stay behind their own modules."""
    users = {name(f) for f in FILES if any(found.split(".")[0] == library for found in imported(f))}
    assert users
    assert all(user.startswith(allowed) for user in users), users


def test_nothing_of_ours_reads_pickles() -> None:
    """Whoever can write to a socket or file that is unpickled runs code."""
    readers = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "multiprocessing"}
    assert [name(f) for f in FILES if any(found.split(".")[0] in readers for found in imported(f))] == []
