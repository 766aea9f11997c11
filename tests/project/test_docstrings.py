"""Docstrings say what a caller must know: errors raised, shapes of arrays, what a folder is. Reads the source, runs nothing."""

from __future__ import annotations

import ast
import re

import pytest

from qwen_triton import errors
from tests.support.folders import ROOT
from tests.support.sources import PACKAGES, PublicFunction, modules, public_functions

ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
SHAPE = re.compile(r"\bshapes?\b|\[[\w\s,·×*+-]+\]", re.IGNORECASE)
"""The word, or dimensions in brackets: `[rows, tokens]`."""
NO_SUBJECT = re.compile(r"(Where|How|What|Whether|When|Who|Which|Whose)\b")


def listed(names: list[str]) -> str:
    return "\n".join(["", *names])


def raised(function: PublicFunction) -> set[str]:
    """Names of our errors that the function's own `raise` statements name."""
    found: set[str] = set()
    for node in function.body():
        if isinstance(node, ast.Raise) and node.exc is not None:
            called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            found |= {name} & ERRORS
    return found


def is_check(function: PublicFunction) -> bool:
    hints = [ast.unparse(a.annotation) for a in function.node.args.args if a.annotation]
    return "doctor" in function.module.parts and hints == ["Site"]


def takes_arrays(function: PublicFunction) -> bool:
    """Whether a parameter or the result is an array, or several."""
    arguments = function.node.args
    hints = [a.annotation for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    text = " ".join(ast.unparse(hint) for hint in (*hints, function.node.returns) if hint)
    return bool(re.search(r"\b(Array|Arrays|ndarray|NDArray)\b", text))


def test_functions_that_raise_say_so() -> None:
    """A public function whose own body raises one of our errors names the error in its docstring.

    The doctor's checks are one interface, `Check.examine`: doctor/check.py says once what each of them raises.
    """
    functions = [f for f in public_functions() if not is_check(f)]
    silent = [f"{f.name} raises {e}" for f in functions for e in sorted(raised(f)) if e not in f.doc]
    assert not silent, listed(silent)


def test_functions_over_tensors_say_shapes() -> None:
    """In tensors/: each public function with arrays among its parameters or results."""
    folder = PACKAGES["qwen_triton"] / "tensors"
    silent = [
        f.name for f in public_functions() if folder in f.module.parents and takes_arrays(f) and not SHAPE.search(f.doc)
    ]
    assert not silent, listed(silent)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_says_what_it_is_and_what_it_imports(package: str) -> None:
    """At least a sentence of each; test_import_order.py holds the number of modules."""
    silent = []
    for face in PACKAGES[package].rglob("__init__.py"):
        doc = ast.get_docstring(modules()[face]) or ""
        if len(doc.split()) < 15 or not re.search(r"\b[Ii]mports?\b", doc):
            silent.append(str(face.relative_to(ROOT)))
    assert not silent, listed(silent)


def test_a_module_s_docstring_has_a_subject() -> None:
    """«Finds tags in a text», not «Where tags stand»: a reader who searches by the noun finds it first."""
    silent = [
        str(file.relative_to(ROOT))
        for file, tree in modules().items()
        if NO_SUBJECT.match(ast.get_docstring(tree) or "How")
    ]
    assert not silent, listed(silent)
