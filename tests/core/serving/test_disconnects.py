"""DisconnectWatcher: a client that disconnects is found in time, and none is asked for whose request is answered."""

from __future__ import annotations

import threading
import time

import pytest

from qwen_triton.serving import disconnects
from qwen_triton.serving.disconnects import CHECK_S, DisconnectWatcher
from tests.support.live.waiting import becomes


def test_a_client_that_disconnects_is_found_and_one_that_is_answered_is_not_asked_for() -> None:
    watch, left = DisconnectWatcher(), threading.Event()
    sent = {"leaving": 0, "done": 0}

    def gone(name: str, answer: bool) -> bool:
        sent[name] += 1
        return answer

    watch.start()
    try:
        watch.watch(lambda: gone("leaving", sent["leaving"] > 2), left.set, lambda: True)
        watch.watch(lambda: gone("done", False), lambda: None, lambda: False)
        assert left.wait(20)
        time.sleep(2 * CHECK_S)
    finally:
        watch.stop()
    assert sent == {"leaving": 4, "done": 0}


@pytest.mark.parametrize(("all_leave", "sent"), [(True, 300), (False, 20)])
def test_a_disconnected_client_has_others_checked_early(
    monkeypatch: pytest.MonkeyPatch, all_leave: bool, sent: int
) -> None:
    """An hour before it: all of them where each finds the next ones gone, a few where nobody else has left."""
    watch, questions, left = DisconnectWatcher(), [], []

    def gone() -> bool:
        questions.append(1)
        return all_leave

    watch.watch(lambda: True, lambda: left.append(1), lambda: True)
    monkeypatch.setattr(disconnects, "CHECK_S", 3600.0)
    for _ in range(300):
        watch.watch(gone, lambda: left.append(1), lambda: True)
    watch.start()
    try:
        assert becomes(lambda: len(questions) == sent, 20)
        assert becomes(lambda: len(left) == 1 + 300 * all_leave, 20)
        time.sleep(3 * CHECK_S)
    finally:
        watch.stop()
    assert len(questions) == sent
