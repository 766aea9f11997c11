"""What a model's process does as it begins: the server's connections, which it inherits, are not its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

PREPARED = """
import os, sys
from qwen_triton.triton.model_process import prepare_process
prepare_process("some_model")
kept = []
for descriptor in map(int, sys.argv[1:]):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    kept.append(descriptor)
print(kept, flush=True)
sys.stdin.read()
"""
WAIT_S = 20.0


def test_connections_of_the_servers_clients_are_closed_and_all_else_is_kept(tmp_path: Path) -> None:
    """A client hears the end of its connection although the process goes on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), WAIT_S) as client,
        (tmp_path / "file").open("w") as file,
    ):
        served, _ = listener.accept()
        pair = socket.socketpair()
        inherited = [served.fileno(), listener.fileno(), pair[0].fileno(), file.fileno()]
        process = subprocess.Popen(
            [sys.executable, "-c", PREPARED, *map(str, inherited)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=inherited,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        served.close()
        kept = process.stdout.readline()
        assert kept.decode().strip() == str(inherited[2:])
        assert client.recv(1) == b""
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(WAIT_S) == 0
        process.stdout.close()
        for end in pair:
            end.close()
