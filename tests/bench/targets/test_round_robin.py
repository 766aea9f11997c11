"""Several models as one target: requests in turn, closed together."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton_bench.prompts.prompt import Prompt
from qwen_triton_bench.targets.round_robin import RoundRobin


class Recorder:
    def __init__(self, streamed: bool) -> None:
        self.streamed = streamed
        self.sent: list[int] = []
        self.closed = False

    def send(self, request: int, _prompt: Prompt, _listener: Any) -> None:
        self.sent.append(request)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("streamed", [(True, False), (False, False)])
def test_requests_go_to_the_models_in_turn(streamed: tuple[bool, bool]) -> None:
    first, second = map(Recorder, streamed)
    target = RoundRobin([first, second])
    for request in range(5):
        target.send(request, Prompt(1, text="x"), None)  # type: ignore[arg-type]  # nobody answers
    target.close()
    assert (first.sent, second.sent, target.streamed) == ([0, 2, 4], [1, 3], any(streamed))
    assert first.closed
    assert second.closed
