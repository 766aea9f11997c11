"""Modules import only from their left, and only the edges import what belongs to them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BACKEND = ROOT / "backend_src" / "qwen_triton"
ORDER = [
    "errors", "json_file", "types", "contract", "request_parameters", "queue_timeout", "tensors", "receipt_tag", "kserve",
    "input_rows", "generate_arrays", "token_arrays", "backend_arrays", "settings",
    "tokenizer_folder", "tokenizer", "control_tokens", "chat_messages", "template_environment", "chat_template",
    "detokenizer", "stop_scanner", "token_trail", "text_stream",
    "deltas", "tag_finder", "json_scanner", "call_json", "reasoning", "tool_calls",
    "grpc_calls", "engines", "prompt_arrays", "sequences", "preprocess", "postprocess",
    "answer", "usage_arrays", "text_answers", "token_answers", "engine_arrays",
    "receipts", "receipt_sender", "receipt_listener",
    "meter", "responder", "answer_call", "callers", "pace", "lane", "pipeline", "triton",
]  # fmt: skip
"""Left to right. `grpc_calls`, `engines` and `triton` are packages."""


def imported(file: Path) -> set[str]:
    """Absolute names of what a module imports; relative imports as qwen_triton.x."""
    package = ["qwen_triton", *file.relative_to(BACKEND).parts[:-1]] if BACKEND in file.parents else []
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            names.add(".".join([*base, *filter(None, [node.module])]))
    return names


def places(names: set[str]) -> set[str]:
    """The parts of qwen_triton among imported names."""
    return {name.split(".")[1] for name in names if name.startswith("qwen_triton.")}


@pytest.mark.parametrize("file", sorted(BACKEND.rglob("*.py")), ids=lambda f: str(f.relative_to(BACKEND)))
def test_a_module_imports_only_from_its_left(file: Path) -> None:
    """No cycles, no shortcuts: the order of the design is the order of the imports."""
    place = file.relative_to(BACKEND).parts[0].removesuffix(".py")
    if place == "__init__":
        return
    right = {p for p in places(imported(file)) if ORDER.index(p) > ORDER.index(place)}
    assert not right, f"{place} imports {sorted(right)} from its right"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("triton_python_backend_utils", "triton/"),
        ("openvino", "engines/openvino"),
        ("openvino_genai", "engines/openvino"),
    ],
)
def test_an_edge_s_library_is_imported_only_there(library: str, allowed: str) -> None:
    """Triton's and an engine's libraries stay behind their own modules."""
    users = {str(f.relative_to(BACKEND)) for f in BACKEND.rglob("*.py") if library in imported(f)}
    assert users
    assert all(user.startswith(allowed) for user in users), users


def test_clients_know_the_wire_and_nothing_behind_it() -> None:
    """The client package stands before the server: no engines, no pipeline, no Triton models."""
    allowed = {
        "errors",
        "types",
        "contract",
        "tensors",
        "generate_arrays",
        "kserve",
        "token_arrays",
        "grpc_calls",
        "chat_messages",
        "deltas",
        "reasoning",
        "tool_calls",
    }
    for file in (ROOT / "client").rglob("*.py"):
        assert places(imported(file)) <= allowed, file


def test_build_scripts_know_settings_and_contract_only() -> None:
    """What renders and starts a server does not reach into it."""
    allowed = {
        "errors",
        "json_file",
        "types",
        "contract",
        "settings",
        "tokenizer_folder",
        "tokenizer",
        "chat_template",
        "engines",
    }
    for file in (ROOT / "build_scripts").rglob("*.py"):
        assert places(imported(file)) <= allowed, file
