"""What tritonserver is told to refuse: everything closed that was not opened, on both ports, and the rest without a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import Server
from qwen_triton_build.launch.closed_apis import HEADER, closing_flags, key_flags, read_key

FLAGS = ("--http-restricted-api", "--grpc-restricted-protocol")
KEY = "k" * 24


def test_all_are_closed_by_a_name_that_no_request_can_have() -> None:
    """HTTP ends a name at the colon; gRPC takes no space in one. The value is new each time."""
    assert ":" in HEADER
    assert " " in HEADER
    flags, again = closing_flags([]), closing_flags([])
    values = {flag.rpartition("=")[2] for flag in flags}
    assert [flag.rpartition("=")[0] for flag in flags] == [
        f"{flag}=shared-memory,model-repository,trace,logging:{HEADER}" for flag in FLAGS
    ]
    assert len(values) == 1
    assert len(values.pop()) >= 32
    assert flags != again


def test_what_is_opened_is_not_restricted() -> None:
    assert [f.partition(":")[0] for f in closing_flags(["trace", "logging"])] == [
        f"{flag}=shared-memory,model-repository" for flag in FLAGS
    ]
    assert closing_flags(["shared-memory", "model-repository", "trace", "logging"]) == []


def test_a_key_is_asked_for_by_one_header_on_both_ports() -> None:
    """tritonserver puts the prefix before gRPC's name itself. What the deployment opens is open to the key alone."""
    assert key_flags(["trace"], KEY) == [
        f"--http-restricted-api=inference,metadata,model-config,statistics,trace:triton-grpc-protocol-api-key={KEY}",
        f"--grpc-restricted-protocol=inference,metadata,model-config,statistics,trace:api-key={KEY}",
    ]


def test_the_key_is_the_file_s_only_line(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert read_key(Server(api_key_file=file)) == KEY
    assert read_key(Server()) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected one line of 20 to 200 letters, digits and -._~; `openssl rand -hex 24` makes one"),
        (b"k" * 24 + b"\n" + b"k" * 24, "expected one line of 20 to 200 letters"),
        (b"\xff" * 30, "cannot be read: it is no text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_is_named_and_its_content_is_not_repeated(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        read_key(Server(api_key_file=file))
    assert str(refused.value).startswith(f"server.api_key_file: {file}: {message}")
    assert "kkkk" not in str(refused.value)
