"""The processes of a model of Triton's Python backend, found among the server's children."""

from __future__ import annotations

import os
import subprocess
import sys

from qwen_triton.engines.triton_model.processes import find_processes


def test_a_models_processes_are_the_servers_own_children_alone() -> None:
    """By the stub's command line; another model's, and another server's, are none."""
    stub = ["/x/triton_python_backend_stub", "/r/engine/1/model.py", "-c", "input()"]
    others = [["/x/triton_python_backend_stub", "/r/engine_2/1/model.py"], ["python", "/r/engine/1/model.py"]]
    wait = ["-c", "input()"]
    started = [
        subprocess.Popen([words[0], *wait, *words[1:]], executable=sys.executable, stdin=subprocess.PIPE)
        for words in (stub[:2], *others)
    ]
    try:
        assert find_processes(os.getpid(), "engine") == []
    finally:
        for process in started:
            process.communicate(b"\n")
