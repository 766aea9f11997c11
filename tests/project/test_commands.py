"""Commands that documents name exist, with the flags they are shown with; and every command explains itself at every depth."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from qwen_triton_build.cli import COMMANDS
from tests.support.documents import PAGES, commands, page_name
from tests.support.folders import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
OTHERS_FLAGS = {
    "--grpc-restricted-protocol", "--grpc-use-ssl", "--grpc-use-ssl-mutual", "--grpc-address", "--log-verbose",
    "--http-header-forward-pattern", "--grpc-header-forward-pattern",
    "--entrypoint", "--gpus", "--streaming", "--service-kind", "--tokenizer",
    "--use-server-token-count",
}  # fmt: skip
"""Flags of docker, tritonserver, AIPerf and GenAI-Perf that a sentence names."""
PLACEHOLDER = re.compile(r"([A-Z_.|…]|[\u4e00-\u9fff])\S*$")
"""FILE, COMMAND, DEPLOYMENT.yaml, 命令, …: stands for something that the reader fills in."""


@cache
def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"qwen-triton {command}")
    import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: child
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, child in action.choices.items()
    }


def every_parser(command: str) -> Iterator[argparse.ArgumentParser]:
    """A command's parser and those of its subcommands, at every depth."""
    waiting = [parser_of(command)]
    while waiting:
        yield (parser := waiting.pop())
        waiting.extend(subcommands(parser).values())


def flags_of(*parsers: argparse.ArgumentParser) -> set[str]:
    return {flag for parser in parsers for flag in parser._option_string_actions}


def used_commands(page: Path, pattern: str) -> Iterator[tuple[str, list[str]]]:
    """(name, words after it) of each use of a command, up to the end of the shell's command."""
    for line in commands(page):
        for match in re.finditer(rf"(?:^|(?<=[\s'(/])){pattern} (\S+)([^|;&)]*)", line):
            yield match[1].rstrip("`'"), re.findall(r"'[^']*'|\S+", match[2])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_our_commands_exist_with_their_flags(page: Path) -> None:
    """`qwen-triton COMMAND …`: the command, its subcommands and each flag are what its parser takes."""
    wrong = []
    for command, words in used_commands(page, "qwen-triton"):
        if PLACEHOLDER.match(command) or command.startswith("-"):
            continue
        if command not in COMMANDS:
            wrong.append(command)
            continue
        path = [parser_of(command)]
        for word in words:
            if word in subcommands(path[-1]):
                path.append(subcommands(path[-1])[word])
            elif word.startswith("--") and word.split("=")[0] not in flags_of(*path):
                wrong.append(f"{command}: {word}")
        if len(path) == 1 and (choices := subcommands(path[0])) and words and not PLACEHOLDER.match(words[0]):
            wrong.append(f"{command} {words[0]}: expected one of {', '.join(choices)}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_modules_that_are_run_exist_with_their_flags(page: Path) -> None:
    """`python -m MODULE …`: the module is found, and a module of ours spells each flag."""
    wrong = []
    for module, words in used_commands(page, r"python3? -m"):
        if (spec := find_spec(module)) is None or spec.origin is None:
            wrong.append(module)
        elif Path(spec.origin).is_relative_to(ROOT) and ".venv" not in spec.origin:
            source = Path(spec.origin).read_text()
            wrong += [f"{module}: {w}" for w in words if w.startswith("--") and f'"{w.split("=")[0]}"' not in source]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_exist_with_their_variables(page: Path) -> None:
    """`make TARGET NAME=value`."""
    wrong = []
    for target, words in used_commands(page, "make"):
        if target != "..." and target not in TARGETS:
            wrong.append(target)
        wrong += [w for w in words if re.match(r"[A-Z_]+=", w) and not re.search(rf"\b{w.split('=')[0]}\b", MAKEFILE)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_flags_named_alone_exist(page: Path) -> None:
    """A code span that begins with a flag names one of ours, of any command, or one of those listed as others'."""
    known = flags_of(*(parser for command in COMMANDS for parser in every_parser(command))) | OTHERS_FLAGS
    known |= {flag for file in (ROOT / "demo").glob("*.py") for flag in re.findall(r'"(--[\w-]+)"', file.read_text())}
    named = {m[1] for line in commands(page) if (m := re.match(r"(--[a-z][\w-]*)(?!\S*…)", line))}
    assert sorted(named - known) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_at_every_depth(command: str) -> None:
    for parser in every_parser(command):
        assert parser.format_help().startswith("usage: "), parser.prog


@pytest.mark.parametrize("tool", sorted((ROOT / "tests" / "tools").glob("*.py")), ids=lambda tool: tool.stem)
def test_a_tool_says_how_it_is_run(tool: Path) -> None:
    """In its docstring, and in `--help` where it takes arguments (argparse would print the file's name)."""
    source, command = tool.read_text(), f"python -m tests.tools.{tool.stem}"
    assert command in source
    assert "ArgumentParser(" not in source or f'prog="{command}"' in source
