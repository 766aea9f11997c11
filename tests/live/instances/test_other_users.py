"""Another user of the machine cannot be the engine, nor its client, nor hear what it says."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_triton.engines.process.loads import find_facts, server_identity
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.live.client import generate
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
NOBODY = 65534
_CONNECT = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
for kind, address in ((socket.SOCK_STREAM, sys.argv[1]), (socket.SOCK_SEQPACKET, sys.argv[2])):
    peer = socket.socket(socket.AF_UNIX, kind)
    peer.settimeout(5)
    try:
        peer.connect(address)
        print("heard", len(peer.recv(100)))
    except OSError as error:
        print(type(error).__name__)
"""
_FORGE = """
import json, os, socket, sys
os.setgid(65534); os.setuid(65534)
folder = sys.argv[1]
os.mkdir(folder, 0o755)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(folder + "/engine")
os.chmod(folder + "/engine", 0o777)
listener.listen()
open(folder + "/facts", "w").write(sys.argv[2])
print("listens", flush=True)
listener.settimeout(10)
try:
    peer, _ = listener.accept()
    print("taken")
except TimeoutError:
    print("left alone")
"""


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    if os.getuid() != 0:
        pytest.fail("these tests act as nobody: run them as root")
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 2.0}})


def as_nobody(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def local_socket(server: LiveServer) -> str:
    """Where the BLS's process takes requests of the shim."""
    mine = server_identity(server.pid)
    (folder,) = [folder for folder, facts in find_facts("local") if facts["server"] == mine]
    return f"{folder}/requests"


def test_another_user_cannot_look_into_the_folders_nor_connect(server: LiveServer) -> None:
    load, local = server.engine_load(), local_socket(server)
    for folder in (load.folder, os.path.dirname(local)):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    for address in (load.engine_socket, local):
        assert as_nobody(_CONNECT, address, load.acks_socket).split() == ["PermissionError"] * 2


def test_another_user_who_could_connect_hears_nothing(server: LiveServer) -> None:
    """Where the folders' modes are opened by mistake: both ends still ask the kernel who is there."""
    load, local = server.engine_load(), local_socket(server)
    folders = [Path(load.folder), Path(local).parent]
    try:
        for folder in folders:
            folder.chmod(0o755)
        for socket in (load.engine_socket, load.acks_socket, local):
            Path(socket).chmod(0o777)
        for address in (load.engine_socket, local):
            received = as_nobody(_CONNECT, address, load.acks_socket)
            assert set(received.replace("heard 0", "ConnectionResetError").split()) == {"ConnectionResetError"}
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert "a process of another user wanted to send requests" in server.log.read_text()
    assert generate(server, BLS, text_input="hello again", max_tokens=9)["text_output"] == "hello again"


def test_an_engine_that_another_user_forges_is_asked_nothing(server: LiveServer) -> None:
    """In a folder of the right form, with the facts of this server's engine and a later time."""
    load = server.engine_load()
    folder = f"/dev/shm/qwen_triton_load_{secrets.token_hex(12)}"
    facts = Path(load.folder, "facts").read_text().replace(load.folder, folder)
    facts = facts.replace(f'"since_ns": {load.since_ns}', f'"since_ns": {load.since_ns + 10**12}')
    with subprocess.Popen([sys.executable, "-c", _FORGE, folder, facts], stdout=subprocess.PIPE, text=True) as forger:
        assert forger.stdout is not None
        try:
            assert forger.stdout.readline() == "listens\n"
            for model in (BLS, ENSEMBLE):
                for _ in range(20):
                    assert (
                        generate(server, model, text_input="hello again", max_tokens=9)["text_output"] == "hello again"
                    )
            assert forger.stdout.read() == "left alone\n"
        finally:
            forger.kill()
            for name in ("engine", "facts"):
                Path(folder, name).unlink(missing_ok=True)
            Path(folder).rmdir()


def test_nothing_listens_at_an_abstract_address(server: LiveServer) -> None:
    """Those have no permissions, and everybody may read their names."""
    assert server.engine_load().model == TENSORRT_LLM
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if "@" in line]
    assert [name for name in names if "tensorrt_llm" in name] == []
