"""Who listens to a request's answer as it comes: metrics, limits, the readiness probe. Listening changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qwen_triton.tensors.text_outputs import TextPiece


class Observer(Protocol):
    """Told of one HTTP request that generates."""

    def asked(self, model: str, streamed: bool, n: int) -> None:
        """The request is right and on its way to the model that is served as `model`; `n` sequences for each prompt."""

    def heard(self, pieces: Sequence[TextPiece]) -> None:
        """New pieces; none at the end of the answer. The last piece of each sequence has the counts."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def asked(self, model: str, streamed: bool, n: int) -> None:
        for observer in self._observers:
            observer.asked(model, streamed, n)

    def heard(self, pieces: Sequence[TextPiece]) -> None:
        for observer in self._observers:
            observer.heard(pieces)
