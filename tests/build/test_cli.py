"""`qwen-triton`: help that lists, one clear line for each error, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton_build import cli


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert all(command in said for command in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: qwen-triton {command}" in capsys.readouterr().out


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
