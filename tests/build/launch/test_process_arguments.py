"""A secret in a running process's arguments is overwritten there; the process goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from qwen_triton_build.launch.process_arguments import hide_argument

SECRET = "secret-of-24-characters."
CODE = "import sys; print(sys.argv[1], flush=True); sys.stdin.readline(); print(sys.argv[1], flush=True)"


def test_it_is_gone_from_the_process_list_and_the_rest_stays() -> None:
    command = [sys.executable, "-c", CODE, f"--flag=a:b={SECRET}", "last"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().decode() == f"--flag=a:b={SECRET}\n"
        assert hide_argument([process.pid], SECRET)
        words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        assert words[3:5] == [f"--flag=a:b={'x' * len(SECRET)}", "last"]
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline().decode() == f"--flag=a:b={SECRET}\n"


def test_a_process_that_has_ended_hides_it_too() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert hide_argument([process.pid], SECRET)
