"""Work of requests on a thread of its own: in order, cancelled by name, and a failure is one of its own."""

from __future__ import annotations

import threading

from qwen_triton.triton.deferred import DeferredWork

WAIT_S = 20.0


def test_work_runs_in_order_off_the_thread_that_gives_it() -> None:
    work, gate = DeferredWork(), threading.Event()
    seen: list[tuple[str, bool, str]] = []

    def note(name: str) -> None:
        def run(cancelled: bool) -> None:
            gate.wait(WAIT_S)
            seen.append((name, cancelled, threading.current_thread().name))
            if name == "b":
                raise ValueError("this one fails")

        work.put(name, run)

    for name in ("a", "b", "", "c"):
        note(name)
    assert work.pending
    work.cancel("c")
    work.cancel("elsewhere")
    gate.set()
    work.stop()
    assert seen == [("a", False, "forms"), ("b", False, "forms"), ("", False, "forms"), ("c", True, "forms")]
    assert not work.pending


def test_a_name_is_cancelled_once() -> None:
    """Work of the same name that comes later is not."""
    work, ended, seen = DeferredWork(), threading.Event(), list[bool]()
    work.cancel("a")
    work.put("a", seen.append)
    work.put("", lambda _: ended.set())
    assert ended.wait(WAIT_S)
    work.stop()
    assert seen == [False]
