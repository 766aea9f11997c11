"""A model's link to an engine: requests go in, chunks of tokens come out.

Knows neither what is done with the chunks nor whether the engine is a process of ours or a Triton model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..errors import QwenTritonError
from ..types import EngineRequest, TokenChunk
from .engine import EngineInfo


class ChunkReceiver(Protocol):
    """Handles what arrives from an engine, on the thread that calls `EngineLink.receive`."""

    def on_chunk(self, key: int, chunk: TokenChunk) -> None:
        """Handles new tokens of the sequence `key`. The chunk's lists are the receiver's from here on."""

    def on_refusal(self, key: int, error: QwenTritonError) -> None:
        """Handles a sequence that the engine did not take, or does not go on with.

        `error`: InvalidRequest for what the engine does not support, Unavailable when no slot was free in time or the
        engine's process has ended.
        """


class EngineLink(Protocol):
    """Connection to one engine. Any thread may submit and cancel; one thread receives.

    A connection that is lost ends each of its sequences with a refusal or a chunk of finish «error».
    """

    def info(self) -> EngineInfo:
        """The engine's facts. Raises Unavailable when no engine answers in time."""

    def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """Sends (key, request) pairs together. The caller chooses the keys and never uses one twice.

        Chunks may arrive before this returns. Raises Unavailable when no engine answers in time, InvalidRequest for
        what it cannot take; then none of the sequences has been submitted.
        """

    def cancel(self, key: int) -> None:
        """Ends a sequence and frees its slot; chunks already under way may still arrive. Ignores an unknown key."""

    def finish(self, key: int) -> bool:
        """Ends a sequence by a last chunk of finish «cancelled» with the tokens that the engine keeps.

        False where it keeps none, or does not know the key: then nothing follows, and `cancel` ends the sequence.
        """

    def wake(self) -> None:
        """Makes a receive() that waits return at once."""

    def close(self) -> None:
        """Closes the connection; sequences in flight are lost."""

    def receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        """Hands over what has arrived, waiting up to `timeout_s` seconds for something (None: until woken)."""
