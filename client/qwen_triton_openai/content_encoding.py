"""Decodes compressed request bodies within the limit of their size: gzip, deflate, and zstd where its package is there."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus

from .errors import ApiError, bad_request

_ANY_ZLIB = 32 + zlib.MAX_WBITS
"""gzip's header or zlib's, whichever there is."""
_WINDOW = 8 << 20
"""Bytes of memory that a zstd body may ask for: what its standard tells every decoder to have."""
_MEMBERS = 16
"""The most gzip members in one body: an empty one costs as much work as a full one."""


def decoded(body: bytes, encoding: str, most: int) -> bytes:
    """The body without its `Content-Encoding`, never more than `most` bytes and never more of them in memory.

    Raises ApiError: 415 for an encoding that is not decoded here, 413 for a larger body, 400 for one that is damaged.
    """
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not names or not body:
        return body
    decode = decoders().get(names[0]) if len(names) == 1 else None
    if decode is None:
        raise _unsupported(encoding)
    try:
        found = decode(body, most + 1)
    except ValueError as error:
        raise bad_request(f"the request body is not {names[0]}: {error}", code="invalid_encoding") from None
    if len(found) > most:
        raise too_large(most)
    return found


def decoders() -> Mapping[str, Callable[[bytes, int], bytes]]:
    """{encoding: its decoder, which gives at most so many bytes and raises ValueError for a damaged body}."""
    found = {"gzip": _inflate, "x-gzip": _inflate, "deflate": _inflate}
    return {**found, "zstd": _decode_zstd} if _has_zstd() else found


def _has_zstd() -> bool:
    try:
        import zstandard  # noqa: F401  only whether it is there
    except ImportError:
        return False
    return True


def too_large(most: int) -> ApiError:
    """413 for a body of more than `most` bytes."""
    message = f"the request body is larger than the {most} bytes that are taken here; send less"
    return ApiError(413, message, code="request_too_large", headers={"Connection": "close"})


def _unsupported(encoding: str) -> ApiError:
    known = ", ".join(sorted(decoders()))
    return ApiError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Encoding: {encoding[:60]!r} is not decoded here, {known} are; or send the body as it is",
        code="unsupported_encoding",
        headers={"Accept-Encoding": known},
    )


def _inflate(body: bytes, most: int) -> bytes:
    found = bytearray()
    for _ in range(_MEMBERS):
        member = zlib.decompressobj(_ANY_ZLIB)
        try:
            found += member.decompress(body, most - len(found))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(found) >= most:
            return bytes(found)
        if not member.eof:
            raise ValueError("it ends too early")
        body = member.unused_data
        if not body:
            return bytes(found)
    raise ValueError(f"it has more than {_MEMBERS} parts")


def _decode_zstd(body: bytes, most: int) -> bytes:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(body)
    try:
        found = bytearray()
        while len(found) < most and (part := reader.read(most - len(found))):
            found += part
        return bytes(found)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
