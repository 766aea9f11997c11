"""A way to an engine, as the line uses it: where sequences go in and what they gain comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import QwenTritonError
from ..serving.pending import Extras
from ..types import EngineRequest
from .engine import EngineInfo


class ChunkReceiver(Protocol):
    """Who takes what arrives, on the thread that receives."""

    def on_chunk(self, key: int, token_ids: list[int], extras: Extras | None) -> None:
        """A sequence gained tokens; `extras` has what its chunk says beside them."""

    def on_refusal(self, key: int, error: QwenTritonError) -> None:
        """The engine did not take a sequence: the caller's fault, or no slot was free in time."""


class EngineLink(Protocol):
    """Any thread may submit and cancel; one thread receives. A door that is lost ends its sequences as errors."""

    def info(self) -> EngineInfo:
        """The engine's facts."""

    def submit(self, requests: Sequence[EngineRequest], register: Callable[[list[int]], None]) -> None:
        """Sends sequences together; `register(keys)` runs before any chunk of them can arrive.

        Raises Unavailable when no engine answers in time, InvalidRequest for what it cannot take.
        """

    def cancel(self, key: int) -> None:
        """Lets go of a sequence; chunks already under way may still arrive."""

    def wake(self) -> None:
        """Makes a receive() that waits return at once."""

    def close(self) -> None:
        """Ends it; sequences in flight are lost."""

    def receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        """Gives `receiver` what has arrived, waiting up to `timeout_s` for something (None: until woken)."""
