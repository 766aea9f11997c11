"""Compressed bodies: decoded within the body limit, or refused with the encoding's name."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard

from qwen_triton_openai.content_encoding import decoded
from qwen_triton_openai.errors import ApiError
from tests.support.fake_triton import FakeTriton, chat_body, shim_client
from tests.support.shim_requests import CHAT, error

COMPRESS = {
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
    "": bytes,
}
REAL = ("gzip", "deflate", "zstd")


def post(client: Any, content: bytes, encoding: str) -> Any:
    return client.post(CHAT, content=content, headers={"content-encoding": encoding})


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_body_is_read(encoding: str) -> None:
    triton = FakeTriton()
    with shim_client(triton) as client:
        body = json.dumps(chat_body(max_tokens=7)).encode()
        assert post(client, COMPRESS[encoding](body), encoding).status_code == 200
    assert triton.sent[0].sampling.max_tokens == 7


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip", "aws-chunked"])
def test_another_encoding_is_named(encoding: str) -> None:
    """415, with those that are decoded, also as a header."""
    with shim_client() as client:
        reply = post(client, b"\x8b\x02", encoding)
    assert error(reply) == (415, "invalid_request_error", "unsupported_encoding")
    assert reply.json()["error"]["message"] == (
        f"Content-Encoding: {encoding!r} is not decoded here, deflate, gzip, x-gzip, zstd are; or send the body as it is"
    )
    assert reply.headers["accept-encoding"] == "deflate, gzip, x-gzip, zstd"


def test_zstd_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, as any other that is not decoded."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        ApiError, match=r"^Content-Encoding: 'zstd' is not decoded here, deflate, gzip, x-gzip are"
    ) as fault:
        decoded(b"x", "zstd", 100)
    assert fault.value.status == 415


@pytest.mark.parametrize("encoding", REAL)
def test_the_limit_is_of_the_decoded_body(encoding: str) -> None:
    """One that just fits passes."""
    body = json.dumps(chat_body(stop="a" * 500)).encode()
    sent = COMPRESS[encoding](body)
    with shim_client(max_body_bytes=len(body)) as client:
        assert post(client, sent, encoding).status_code == 200
    with shim_client(max_body_bytes=len(body) - 1) as client:
        assert error(post(client, sent, encoding)) == (413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize("encoding", REAL)
def test_a_bomb_takes_no_more_memory_than_the_limit(encoding: str) -> None:
    """A gigabyte of blanks in some kilobytes."""
    bomb = {"gzip": lambda: zlib.compressobj(9, wbits=31), "deflate": lambda: zlib.compressobj(9),
            "zstd": lambda: zstandard.ZstdCompressor(level=9).compressobj()}[encoding]()  # fmt: skip
    sent = b"".join(bomb.compress(b" " * (1 << 20)) for _ in range(256)) + bomb.flush()
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as fault:
            decoded(sent, encoding, 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fault.value.status == 413
    assert peak < 16 << 20


@pytest.mark.parametrize("encoding", REAL)
@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b[:4], lambda _: b"no such thing"])
def test_a_damaged_body_is_the_caller_s_fault(encoding: str, damage: Any) -> None:
    """400, never 500; a cut one is not read as if it were whole."""
    sent = damage(COMPRESS[encoding](json.dumps(chat_body()).encode()))
    with shim_client() as client:
        reply = post(client, sent, encoding)
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_gzip_may_have_several_members_but_not_without_end() -> None:
    """An empty one costs work too."""
    assert decoded(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 100) == b"abcd"
    with pytest.raises(ApiError, match="has more than 16 parts"):
        decoded(gzip.compress(b"") * 17, "gzip", 100)
