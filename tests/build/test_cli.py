"""`qwen-triton`: help that lists, one clear line for each error, and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from qwen_triton_build import cli


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert all(command in said for command in cli.COMMANDS)


def parsers() -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    """Every command and every subcommand below it: its words, and its parser."""
    for name, (module, _) in cli.COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"qwen-triton {name}")
        import_module(module).add_arguments(parser)
        yield from below([name], parser)


def below(words: list[str], parser: argparse.ArgumentParser) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from below([*words, name], child)


PARSERS = list(parsers())
BUILD = [(words, parser) for words, parser in PARSERS if "qwen_triton_build" in cli.COMMANDS[words[0]][0]]


def named(case: object) -> str:
    return " ".join(case) if isinstance(case, list) else ""


@pytest.mark.parametrize("words", [words for words, _ in PARSERS], ids=named)
def test_every_command_has_help_at_every_depth(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--help"])
    assert end.value.code == 0
    assert f"usage: qwen-triton {words[0]}" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "parser"), BUILD, ids=named)
def test_help_explains_every_argument_and_gives_examples_and_exit_codes(
    words: list[str], parser: argparse.ArgumentParser
) -> None:
    """An operator needs no other page for a command."""
    assert [action.dest for action in parser._actions if not action.help] == []
    text = parser.epilog or ""
    assert f" qwen-triton {words[0]} " in text
    assert "exit code: 0 " in text


@pytest.mark.parametrize("argv", [[], ["srve"], ["render", "x"], ["render", "x", "--outptu", "y"]])
def test_wrong_usage_is_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert "usage: qwen-triton" in capsys.readouterr().err


def test_a_wrong_deployment_is_code_2_and_a_line_for_each_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text("model: 3\nengine: {kind: replay, slot: 1}\n")
    assert cli.main(["render", str(file), "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"qwen-triton: {file}: model: expected a valid string, got 3",
        f"qwen-triton: {file}: engine.slot: unknown key; did you mean slots?",
    ]
    assert not (tmp_path / "out").exists()


def test_render_writes_a_repository_and_says_how_to_start_it(
    tmp_path: Path, qwen25_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "deployment.yaml", tmp_path / "repository"
    file.write_text(f"model: {qwen25_folder}\nengine: {{kind: replay}}\n")
    assert cli.main(["render", str(file), "--output", str(output)]) == 0
    assert (output / "ensemble" / "config.pbtxt").is_file()
    assert f"qwen-triton server --model-repository {output}" in capsys.readouterr().out


def test_a_port_that_is_none_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a flag or in the environment."""
    monkeypatch.setenv("GRPC_PORT", "70000")
    with pytest.raises(SystemExit):
        cli.main(["server", "--model-repository", str(tmp_path)])
    assert "--grpc-port: expected a port from 1 to 65535, got '70000'" in capsys.readouterr().err


def test_a_folder_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["server", "--model-repository", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"qwen-triton: --model-repository: {tmp_path}/none is not a folder\n"
