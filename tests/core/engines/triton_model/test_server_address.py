"""The address of the server's gRPC in its command line; a server that cannot be reached is refused with the remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qwen_triton.engines.triton_model.server_address import (
    GrpcAddress,
    TlsFiles,
    grpc_address,
    read_command_line,
)
from qwen_triton.errors import ConfigurationError
from tests.support.live.waiting import becomes


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        ([], GrpcAddress("127.0.0.1", 8001)),
        (["--grpc-port=8101", "--http-port=1"], GrpcAddress("127.0.0.1", 8101)),
        (["--grpc-port", "8101", "--grpc-address", "10.0.0.3"], GrpcAddress("10.0.0.3", 8101)),
        (["--grpc-address=0.0.0.0", "--grpc-port=1", "--grpc-port=2"], GrpcAddress("127.0.0.1", 2)),
        (["--allow-grpc=1", "--grpc-use-ssl=false"], GrpcAddress("127.0.0.1", 8001)),
        (["--grpc-restricted-protocol=health,metadata:a=b"], GrpcAddress("127.0.0.1", 8001)),
        (
            ["--grpc-restricted-protocol=health:a=b", "--grpc-restricted-protocol", "model-config,inference:key=x=y"],
            GrpcAddress("127.0.0.1", 8001, (("triton-grpc-protocol-key", "x=y"),)),
        ),
    ],
)
def test_the_command_line_says_where(flags: list[str], address: GrpcAddress) -> None:
    assert read_command_line(["/opt/tritonserver/bin/tritonserver", "--model-repository=/m", *flags]) == address


FILES = ["--grpc-server-cert=tls/server.crt", "--grpc-server-key", "/etc/server.key", "--grpc-root-cert=roots.crt"]
SERVER = (Path("/srv/tls/server.crt"), Path("/etc/server.key"))


@pytest.mark.parametrize(
    ("flags", "tls"),
    [
        (["--grpc-use-ssl=true"], TlsFiles(*SERVER)),
        (["--grpc-use-ssl", "1"], TlsFiles(*SERVER)),
        (["--grpc-use-ssl-mutual=1"], TlsFiles(*SERVER, Path("/srv/roots.crt"))),
        (["--grpc-use-ssl-mutual=false"], TlsFiles(*SERVER)),
        (["--grpc-use-ssl-mutual=true", "--grpc-use-ssl=false"], None),
        (["--grpc-use-ssl=false"], None),
        ([], None),
    ],
)
def test_the_command_line_says_whether_with_tls(flags: list[str], tls: TlsFiles | None) -> None:
    """Files are relative to the server's folder; either flag may switch TLS on, the later one wins."""
    address = read_command_line(["tritonserver", *FILES, *flags], Path("/srv"))
    assert address == GrpcAddress("127.0.0.1", 8001, tls=tls)


@pytest.mark.parametrize(
    ("words", "found", "remedy"),
    [
        (["tritonserver", "--allow-grpc=false"], "does not serve gRPC", "serve gRPC on loopback"),
        (["tritonserver", "--allow-grpc", "0"], "does not serve gRPC", "serve gRPC on loopback"),
        (["tritonserver", "--grpc-use-ssl=true"], "its --grpc-server-cert is not given", "give --grpc-server-cert"),
        (
            ["tritonserver", "--grpc-use-ssl-mutual=1", *FILES[:3]],
            "its --grpc-root-cert is not given",
            "give --grpc-ro",
        ),
        (["tritonserver", "--reuse-grpc-port=true"], "share the gRPC port", "give each server its own port"),
        (["/usr/bin/python3", "serve.py"], "inside 'python3'", "serve with tritonserver"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_the_remedy(words: list[str], found: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{found}.*; {remedy}"):
        read_command_line(words)


def test_a_real_process_is_read() -> None:
    """As any name may be given to a program, so here a sleep is the server."""
    server = subprocess.Popen(["tritonserver", "-c", "input()"], executable=sys.executable, stdin=subprocess.PIPE)
    try:
        words = Path(f"/proc/{server.pid}/cmdline")
        assert becomes(lambda: words.read_text().startswith("tritonserver"), 10)
        assert grpc_address(server.pid).port == 8001
    finally:
        server.communicate(b"\n")
