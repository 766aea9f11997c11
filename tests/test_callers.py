"""CallerWatch: who has left is found out within a bound, and nobody is asked who is done."""

from __future__ import annotations

import threading
import time

from qwen_triton.callers import CHECK_S, CallerWatch


def test_a_caller_that_leaves_is_found_and_one_that_is_done_is_not_asked() -> None:
    watch, left = CallerWatch(), threading.Event()
    asked = {"leaving": 0, "done": 0}

    def gone(name: str, answer: bool) -> bool:
        asked[name] += 1
        return answer

    watch.start()
    try:
        watch.watch(lambda: gone("leaving", asked["leaving"] > 2), left.set, lambda: True)
        watch.watch(lambda: gone("done", False), lambda: None, lambda: False)
        assert left.wait(20)
        time.sleep(2 * CHECK_S)
    finally:
        watch.stop()
    assert asked == {"leaving": 4, "done": 0}
