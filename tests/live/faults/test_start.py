"""What keeps a launch from starting is told in a line with its remedy; the length of an engine's options does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS
from tests.live.conftest import Serve
from tests.support.live.client import generate
from tests.support.live.launches import COMMAND
from tests.support.live.servers import write_deployment

pytestmark = pytest.mark.live
NOWHERE = "/proc/nowhere"
_NO_TEMPORARY = "import sys, tempfile\ntempfile._candidate_tempdir_list = lambda: [{folder!r}]\n"
_MAIN = "from qwen_triton_build.cli import main\nsys.exit(main(sys.argv[1:]))"


@pytest.fixture
def deployment(qwen25_folder: Path, tmp_path: Path) -> Path:
    return write_deployment({"model": str(qwen25_folder), "engine": {"kind": "replay"}}, tmp_path / "deployment.yaml")


def last_line(command: list[str], **environment: str) -> str:
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()[-1]


def test_a_log_that_cannot_be_written(deployment: Path) -> None:
    said = last_line([*COMMAND, "serve", str(deployment)], XDG_STATE_HOME=NOWHERE)
    assert said.startswith(f"qwen-triton: the log {NOWHERE}/qwen-triton/tritonserver-")
    assert said.endswith("cannot be written (No such file or directory); give --log FILE, or --log - for the terminal")


@pytest.mark.parametrize("command", ["serve", "server --model-repository"])
def test_no_folder_for_temporary_files(command: str, deployment: Path) -> None:
    """Root may write anywhere, so the test leaves the system no folder to try but one that is not there."""
    code = _NO_TEMPORARY.format(folder=NOWHERE) + _MAIN
    target = deployment if command == "serve" else deployment.parent
    assert last_line([sys.executable, "-c", code, *command.split(), str(target)]) == (
        f"qwen-triton: no temporary folder can be written (No usable temporary directory found in ['{NOWHERE}']); "
        "set TMPDIR to a folder that can, or mount one at /tmp"
    )


def test_engine_options_longer_than_a_command_line(serve: Serve, qwen25_folder: Path) -> None:
    """400 KB of scripts; a command line takes 128 KiB in one argument."""
    scripts = [[100 + n % 7] * 500 for n in range(160)]
    server = serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "mode": "scripts", "scripts": scripts}})
    assert len(str(scripts)) > 3 * (128 << 10)
    assert generate(server, BLS, text_input="hello", max_tokens=2)["text_output"]
