"""What is known of one HTTP request: filled as it passes, read by limits, metrics, log and traces."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from qwen_triton.tensors.pieces import Piece

from ..answers.usage import UsageCount

NOBODY = "-"
"""The key's name where no keys are asked for, or none was valid."""


class RequestRecord:
    """An observer of the answer. Times are monotonic seconds; `model` is set once it is known to be served here.

    `on_asked` is called when it is; `on_gap` hears the seconds between two pieces of a stream.
    """

    __slots__ = (
        "_count", "client", "first_at", "heard_pieces", "key_name", "last_at", "method", "model", "on_asked",
        "on_gap", "path", "queued_s", "request_id", "started", "status", "streamed",
    )  # fmt: skip

    def __init__(self, request_id: str, method: str, path: str, client: str = "") -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.client = client
        self.started = time.monotonic()
        self.key_name = NOBODY
        self.model = ""
        self.streamed = False
        self.status = 0
        self.queued_s = 0.0
        self.first_at: float | None = None
        self.last_at = 0.0
        self.heard_pieces = 0
        self.on_asked: Callable[[RequestRecord], None] | None = None
        self.on_gap: Callable[[float], None] | None = None
        self._count: UsageCount | None = None

    def asked(self, model: str, streamed: bool, n: int) -> None:
        self.model = model
        self.streamed = streamed
        self._count = UsageCount(n)
        if self.on_asked is not None:
            self.on_asked(self)

    def heard(self, pieces: Sequence[Piece]) -> None:
        if not pieces:
            return
        now = time.monotonic()
        if self.first_at is None:
            self.first_at = now
        elif self.on_gap is not None:
            self.on_gap(now - self.last_at)
        self.last_at = now
        for piece in pieces:
            self.heard_pieces += piece.merged
            if piece.completion_tokens is not None and self._count is not None:
                self._count.take(piece)

    @property
    def prompt_tokens(self) -> int:
        return self._usage("prompt_tokens")

    @property
    def completion_tokens(self) -> int:
        """As counted by the model; of an answer that was cut off, the pieces that came, each one token or more."""
        return self._usage("completion_tokens") or self.heard_pieces

    @property
    def cached_tokens(self) -> int:
        return int(self._count.as_json()["prompt_tokens_details"]["cached_tokens"]) if self._count else 0

    def _usage(self, name: str) -> int:
        return int(self._count.as_json()[name]) if self._count else 0
