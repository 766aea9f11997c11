"""Messages between an engine's process and the models that use it: msgpack with a length (4 bytes, little endian).

To the engine: add, cancel, finish (cancel, and send what was kept), counters, leave (end once the clients are done).
From it: hello (facts, whether it leaves), step (the new chunks of all this client's sequences), refused, expired (no
slot within the queue timeout), leaving (it ends when this client has disconnected), counters. A chunk with nothing but
token ids is [key, ids], any other one [key, ids, {field: value}]; log probs of a prompt are the first chunk's field
`prompt`, [log probs, pairs of the likeliest].
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import msgpack

from ...types import EngineRequest, PromptLogProbs, SamplingParams, TokenChunk
from .chunks import PLAIN, plain_chunk

_LENGTH = struct.Struct("<I")
_EXTRAS = TokenChunk._fields[1:]
_REQUEST = tuple(f.name for f in fields(EngineRequest))
_SAMPLING = tuple(f.name for f in fields(SamplingParams))


def encode_message(*parts: Any) -> bytes:
    """One message, ready to be written to the socket."""
    body: bytes = msgpack.packb(parts)
    return _LENGTH.pack(len(body)) + body


class MessageReader:
    """Reassembles messages from a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_within(self) -> bool:
        """Whether a part of a message has been received."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Adds received bytes and yields the messages that are complete."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            with memoryview(self._buffer) as view:
                message = msgpack.unpackb(view[start + _LENGTH.size : end], strict_map_key=False)
            start = end
            yield message
        del self._buffer[:start]


def encode_request(request: EngineRequest) -> dict[str, Any]:
    """An EngineRequest as plain data; sampling parameters that are None are left out."""
    data = {name: getattr(request, name) for name in _REQUEST}
    data["sampling"] = {name: v for name in _SAMPLING if (v := getattr(request.sampling, name)) is not None}
    data["bias"] = dict(request.bias)
    return data


def decode_request(data: dict[str, Any]) -> EngineRequest:
    """The inverse of encode_request."""
    return EngineRequest(
        sampling=SamplingParams(**data["sampling"]),
        pad_id=data["pad_id"],
        bias=data["bias"],
        grammar=data["grammar"],
        stream=data["stream"],
        queue_timeout_s=data["queue_timeout_s"],
        chunk_tokens=data["chunk_tokens"],
        lora_name=data["lora_name"],
        token_ids=tuple(data["token_ids"]),
        end_ids=tuple(data["end_ids"]),
        stop_token_ids=tuple(data["stop_token_ids"]),
        stop_sequences=tuple(map(tuple, data["stop_sequences"])),
        bad_words=tuple(map(tuple, data["bad_words"])),
    )


def encode_chunk(key: int, chunk: TokenChunk) -> list[Any]:
    """A chunk as [key, ids] or [key, ids, {fields that differ from their default}]."""
    if chunk[1:] == PLAIN:
        return [key, chunk[0]]
    return [key, chunk[0], {n: v for n, v, d in zip(_EXTRAS, chunk[1:], PLAIN, strict=True) if v != d}]


def decode_chunk(item: list[Any]) -> TokenChunk:
    """The inverse of encode_chunk, without the key. Hot: runs for every token of every request."""
    if len(item) == 2:
        return plain_chunk(item[1])
    fields = item[2]
    if "prompt" in fields:
        fields["prompt"] = PromptLogProbs(*fields["prompt"])
    return TokenChunk(item[1], **fields)
