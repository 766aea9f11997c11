"""Observers of a request's answer as it is generated: metrics, rate limits, readiness. They never change the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qwen_triton.tensors.text_outputs import TextPiece


class Observer(Protocol):
    """Observes one HTTP request that generates."""

    def on_request(self, model: str, streamed: bool, n: int) -> None:
        """The request is valid and about to be sent. `model`: its served name; `n`: sequences of each prompt."""

    def on_pieces(self, pieces: Sequence[TextPiece]) -> None:
        """New pieces of the answer; an empty list at its end. A sequence's last piece has the token counts."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_request(self, model: str, streamed: bool, n: int) -> None:
        for observer in self._observers:
            observer.on_request(model, streamed, n)

    def on_pieces(self, pieces: Sequence[TextPiece]) -> None:
        for observer in self._observers:
            observer.on_pieces(pieces)
