"""Several models of one server as one target: requests go to them in turn, as with several engines behind one name."""

from __future__ import annotations

from collections.abc import Sequence

from ..prompts.prompt import Prompt
from .target import AnswerListener, Target


class RoundRobin:
    """A `Target` of two or more others. Its answers come in pieces if those of any do."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.streamed = any(target.streamed for target in targets)
        self._targets = targets

    def send(self, request: int, prompt: Prompt, listener: AnswerListener) -> None:
        self._targets[request % len(self._targets)].send(request, prompt, listener)

    def close(self) -> None:
        for target in self._targets:
            target.close()
