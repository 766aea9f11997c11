"""The key of a Triton that asks for one: sent with every call where the environment has it, and never repeated."""

from __future__ import annotations

import pytest

from qwen_triton.engines.triton_model.server_address import read_command_line
from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve.connection import GrpcConnection
from qwen_triton.kserve.server_key import HEADER, VARIABLE, check_key, key_headers
from tests.support.http2_peer import Peer

KEY = "k" * 20 + "-._~0"
PATH = "/inference.GRPCInferenceService/ModelInfer"


def headers_of_a_call() -> dict[str, str]:
    client, peer = GrpcConnection("host:8001"), Peer()
    peer.exchange(client)
    call = client.open(PATH, [("traceparent", "t")])
    peer.exchange(client)
    return peer.requests[call]


def test_a_call_carries_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert HEADER not in headers_of_a_call()
    monkeypatch.setenv(VARIABLE, KEY)
    headers = headers_of_a_call()
    assert (headers["triton-grpc-protocol-api-key"], headers["traceparent"]) == (KEY, "t")


@pytest.mark.parametrize("key", ["short", "k" * 201, "k" * 20 + "\n", "k" * 20 + " k", "schlüssel" * 3, "a,b=c:" * 5])
def test_a_key_that_fits_no_header_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        key_headers({VARIABLE: key})
    assert str(refused.value) == (
        "QWEN_TRITON_SERVER_KEY: expected one line of 20 to 200 letters, digits and -._~; `openssl rand -hex 24` makes one"
    )
    with pytest.raises(ConfigurationError, match=r"^here: "):
        check_key(key, "here")


def test_without_a_key_there_is_no_header() -> None:
    assert key_headers({}) == key_headers({VARIABLE: ""}) == {}


def test_the_way_to_the_engine_takes_the_key_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher overwrites it in the command line; a restriction of another name is read there as ever."""
    flags = [f"--grpc-restricted-protocol=inference:api-key={'x' * 25}", "--grpc-restricted-protocol=inference:other=v"]
    monkeypatch.setenv(VARIABLE, KEY)
    assert read_command_line(["tritonserver", *flags]).metadata == (("triton-grpc-protocol-other", "v"),)
    monkeypatch.delenv(VARIABLE)
    assert read_command_line(["tritonserver", flags[0]]).metadata == ((HEADER, "x" * 25),)
