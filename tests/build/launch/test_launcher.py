"""The launcher over processes that do as scripted: order, readiness, death, policy, signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.launch.launcher import END_SIGNALS, Launcher

QUICK_S = 0.01


@dataclass
class FakeProcess:
    """Writes what happens to it into `events`; `codes` are its exit codes, one for each time it is looked at."""

    name: str
    events: list[str]
    codes: list[int | None] = field(default_factory=list)
    answers: bool = True
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.events.append(f"start {self.name}")

    def ready(self) -> bool:
        return self.answers

    def poll(self) -> int | None:
        return self.codes.pop(0) if self.codes else None

    def stop(self) -> None:
        self.events.append(f"stop {self.name}")

    def kill(self) -> None:
        self.events.append(f"kill {self.name}")

    def last_lines(self) -> list[str]:
        return self.lines


class Recorder:
    """A LaunchProgress that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waited_for: set[str] = set()

    def waiting(self, names: Sequence[str], _seconds: float) -> None:
        self.waited_for |= set(names)

    def report(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def _signals_restored() -> Iterator[None]:
    handlers = {s: signal.getsignal(s) for s in END_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def launch(
    processes: list[FakeProcess],
    recorder: Recorder,
    restarts: int = 0,
    announce: Callable[[], None] = lambda: None,
    ready_timeout_s: float = 5,
) -> int:
    return Launcher(processes, restarts, ready_timeout_s, recorder, QUICK_S).run(announce)


def ask_to_end(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def twice(poll: int) -> list[int | None]:
    """An exit code is looked at twice: when it is found, and when it is reported."""
    return [poll, poll]


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_signal_ends_the_last_first_with_code_0(number: signal.Signals) -> None:
    """What stands in front finishes while what is behind it still answers."""
    events: list[str] = []
    processes = [FakeProcess("server", events), FakeProcess("shim", events)]
    code = launch(processes, Recorder(), announce=lambda: (events.append("ready"), ask_to_end(number))[0])
    assert code == 0
    assert events == ["start server", "start shim", "ready", "stop shim", "stop server"]


def test_a_child_s_end_is_told_with_its_last_lines_and_ends_all() -> None:
    """Policy `exit`: code 1, and why is on the screen."""
    events: list[str] = []
    recorder = Recorder()
    server = FakeProcess("server", events, [*twice(-9)], lines=["out of memory"])
    assert launch([server, FakeProcess("shim", events)], recorder) == 1
    assert recorder.lines == ["out of memory", "server ended with signal SIGKILL"]
    assert events[-2:] == ["stop shim", "stop server"]


def test_a_child_is_started_again_until_its_restarts_are_used_up() -> None:
    """Policy `restart`: the one that ended, and no other."""
    events: list[str] = []
    recorder = Recorder()
    shim = FakeProcess("shim", events, [None, *twice(3), *twice(3), *twice(4)])
    code = launch([FakeProcess("server", events), shim], recorder, restarts=2)
    assert code == 1
    assert events.count("start server") == 1
    assert events.count("start shim") == 3
    assert recorder.lines[-1] == "shim ended with code 4"
    assert "shim: starting it again in 0 s (2 of 2)" in recorder.lines


def test_what_never_got_ready_is_not_started_again() -> None:
    """A wrong configuration ends at once, whatever the policy."""
    events: list[str] = []
    server = FakeProcess("server", events, twice(1), answers=False)
    assert launch([server], Recorder(), restarts=5) == 1
    assert events == ["start server", "stop server"]


def test_a_child_that_stays_silent_is_named_and_everything_ends() -> None:
    """Readiness has a bound."""
    events: list[str] = []
    recorder = Recorder()
    processes = [FakeProcess("server", events), FakeProcess("shim", events, answers=False)]
    with pytest.raises(ConfigurationError, match="shim was not ready after"):
        launch(processes, recorder, ready_timeout_s=0.05)
    assert recorder.waited_for == {"shim"}
    assert events[-2:] == ["stop shim", "stop server"]


def test_a_signal_while_it_waits_for_readiness_ends_it() -> None:
    """Ctrl-C needs no patience."""
    events: list[str] = []
    recorder = Recorder()
    recorder.waiting = lambda *_: ask_to_end()  # type: ignore[method-assign]
    assert launch([FakeProcess("server", events, answers=False)], recorder) == 0
    assert events == ["start server", "stop server"]


def test_a_second_signal_ends_them_at_once() -> None:
    """An operator who cannot wait for the drain."""
    events: list[str] = []
    processes = [FakeProcess("server", events), FakeProcess("shim", events)]
    recorder = Recorder()
    recorder.report = lambda _: ask_to_end()  # type: ignore[method-assign]
    assert launch(processes, recorder, announce=ask_to_end) == 0
    assert events[2:4] == ["kill server", "kill shim"]


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert launch([FakeProcess("server", [])], Recorder(), announce=ask_to_end) == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
