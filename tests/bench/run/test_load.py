"""The load against a target that answers as told: order, concurrency, ends of all kinds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from qwen_triton_bench.prompts.prompt import Prompt
from qwen_triton_bench.run.arrivals import Closed, Open, all_at_once, constant_rate
from qwen_triton_bench.run.load import Bounds, Load
from qwen_triton_bench.targets.target import AnswerListener, Counts

ONE = [(Prompt(2, text="x", input_tokens=1),)]


class Echo:
    """Answers each request after `delay` on threads of its own; `act` may do something else instead."""

    streamed = True

    def __init__(self, delay: float = 0.002, act: Callable[[int, AnswerListener], bool] = lambda *_: False) -> None:
        self.delay = delay
        self.act = act
        self.prompts: list[Prompt] = []
        self.open = self.most = 0
        self.lock = threading.Lock()

    def send(self, request: int, prompt: Prompt, listener: AnswerListener) -> None:
        with self.lock:
            self.prompts.append(prompt)
            self.open += 1
            self.most = max(self.most, self.open)
        threading.Timer(self.delay, self.answer, (request, listener)).start()

    def answer(self, request: int, listener: AnswerListener) -> None:
        with self.lock:
            self.open -= 1
        if not self.act(request, listener):
            listener.on_response(request, b"ab", 2)
            listener.on_response(request, b"", 0)
            listener.on_response(request, b"c", 1)
            listener.on_end(request, Counts(1, 2, 0, "length"))

    def close(self) -> None: ...


def test_never_more_at_once_than_the_concurrency_and_all_are_answered() -> None:
    """40 requests, 4 at a time; responses without content are not counted."""
    target = Echo()
    run = Load(target, ONE, Closed(4), Bounds(40), keep_text=3).run()
    assert len(run.samples) == 40
    assert target.most == 4
    assert all(s.answered and s.sizes == [2, 1] and s.output_tokens == 2 for s in run.samples)
    assert [s.text for s in run.samples[2:4]] == [[b"ab", b"c"], []]
    assert run.ended == max(s.ended or 0 for s in run.samples)


def test_all_at_once_waits_for_nobody() -> None:
    """30 in flight before the first is answered."""
    target = Echo(delay=0.3)
    run = Load(target, ONE, all_at_once(), Bounds(30), 0).run()
    assert (len(run.samples), target.most) == (30, 30)


def test_an_open_plan_keeps_its_times_whatever_the_server_does() -> None:
    """No request is sent before its time, and none waits for another's end."""
    run = Load(Echo(delay=0.2), ONE, constant_rate(50), Bounds(5), 0).run()
    for n, s in enumerate(run.samples):
        assert s.sent - run.started >= n / 50
    assert run.samples[4].sent < (run.samples[0].ended or 0)


@pytest.mark.parametrize("arrivals", [Closed(2), all_at_once()], ids=str)
def test_a_timeout_gives_up_what_is_not_answered(arrivals: Closed | Open) -> None:
    """Answers in time count; nothing is sent after it."""
    target = Echo(delay=0.15)
    run = Load(target, ONE, arrivals, Bounds(40, timeout_s=0.4), 0).run()
    slow = Load(Echo(delay=9.0), ONE, arrivals, Bounds(4, timeout_s=0.2), 0).run()
    assert run.seconds < 1.0
    assert [s.error for s in slow.samples] == ["no answer in time"] * len(slow.samples)
    assert any(s.answered for s in run.samples)
    if isinstance(arrivals, Closed):
        assert len(run.samples) < 10


def test_an_open_plan_may_have_a_bound_in_flight() -> None:
    """The next request waits for an answer, and goes as soon as there is one."""
    target = Echo(delay=0.02)
    run = Load(target, ONE, replace(all_at_once(), most=2), Bounds(10), 0).run()
    assert (len(run.samples), target.most) == (10, 2)
    assert run.seconds < 0.4
    assert all(s.answered for s in run.samples)


def test_turns_follow_one_another() -> None:
    """The second turn is sent when the first has been answered, in one conversation's place."""
    turns = tuple(Prompt(2, text=str(n)) for n in range(3))
    target = Echo()
    run = Load(target, [turns], Closed(1), Bounds(2), 0).run()
    assert [p.text for p in target.prompts] == ["0", "1", "2"] * 2
    for before, after in zip(run.samples, run.samples[1:], strict=False):
        assert after.sent >= before.times[-1]


def test_a_failed_turn_ends_its_conversation_alone() -> None:
    """The next conversation goes on."""

    def fail_first(request: int, listener: AnswerListener) -> bool:
        if request == 0:
            listener.on_error(request, "full")
        return request == 0

    turns = (Prompt(2, text="a"), Prompt(2, text="b"))
    target = Echo(act=fail_first)
    run = Load(target, [turns], Closed(1), Bounds(2), 0).run()
    assert [p.text for p in target.prompts] == ["a", "a", "b"]
    assert [s.error for s in run.samples] == ["full", None, None]


def test_a_duration_ends_the_sending_and_waits_for_the_answers() -> None:
    """Everything that was sent is answered."""
    run = Load(Echo(0.02), ONE, Closed(2), Bounds(10**9, duration_s=0.3), 0).run()
    assert run.samples
    assert all(s.answered for s in run.samples)
    assert all(s.sent - run.started <= 0.3 for s in run.samples)


def test_silence_ends_the_run_and_what_was_open_failed() -> None:
    """A server that stops answering does not hold the tool."""
    run = Load(Echo(act=lambda *_: True), ONE, Closed(2), Bounds(5, silence_s=0.2), 0).run()
    assert [s.error for s in run.samples] == ["no answer in time"] * 2


def test_a_lost_connection_ends_the_run() -> None:
    """With its reason for every request that was open."""

    def lose(_: int, listener: AnswerListener) -> bool:
        listener.on_lost("connection reset")
        return True

    run = Load(Echo(act=lose), ONE, Closed(2), Bounds(50), 0).run()
    assert {s.error for s in run.samples} == {"connection reset"}


@pytest.mark.parametrize("arrivals", [Closed(3), constant_rate(100)])
def test_ctrl_c_keeps_what_was_measured(arrivals: Closed) -> None:
    """What is still open is unfinished: no error, no latency. A shell may have started us with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    run = Load(Echo(0.05, lambda r, _: r == 2), ONE, arrivals, Bounds(10**6), 0).run()
    assert run.interrupted
    assert time.monotonic() - started < 30
    assert run.samples[0].answered
    assert (run.samples[2].ended, run.samples[2].error) == (None, None)


def test_progress_tells_what_was_sent_and_answered() -> None:
    """At least once, and never more answered than sent."""
    seen = []
    Load(Echo(0.15), ONE, Closed(1), Bounds(3), 0).run(seen.append)
    assert seen
    assert all(p.ended <= p.sent <= p.total == 3 for p in seen)
