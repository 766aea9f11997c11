"""The lifeline between a model and its launcher: what the launcher hears, and what it asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen_triton.serving.local.lifeline import VARIABLE, Lifeline, LifelineServer
from tests.support.descriptors import SHORT, no_descriptors, warns_anew
from tests.support.live.waiting import becomes

WAIT_S = 5.0


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[LifelineServer]:
    """A launcher whose children are in this process."""
    server = LifelineServer()
    monkeypatch.setenv(VARIABLE, server.address)
    yield server
    server.forget_all()


class Model:
    """A model with a number of requests in flight."""

    def __init__(self, name: str, in_flight: int = 0) -> None:
        self.in_flight = in_flight
        self.drained = False
        self.lifeline = Lifeline(name, self.drain, lambda: not self.in_flight)
        self.lifeline.open()

    def drain(self) -> None:
        self.drained = True

    def die(self) -> None:
        """As a process that is killed: its sockets close."""
        assert self.lifeline._peer is not None
        self.lifeline._peer.shutdown(2)
        self.lifeline._peer.close()


def test_the_death_of_a_model_is_told_once(launcher: LifelineServer) -> None:
    first, _ = Model("first"), Model("second")
    assert launcher.died() == ""
    assert launcher.serving() == {"first", "second"}
    first.die()
    assert launcher.died() == "first"
    assert launcher.died() == ""
    assert launcher.serving() == {"second"}


def test_processes_of_a_model_are_counted(launcher: LifelineServer) -> None:
    assert launcher.most_processes() == 0
    _ = [Model(name) for name in ("first", "second", "second", "second")]
    assert launcher.most_processes() == 3


def test_a_model_that_is_unloaded_has_not_died(launcher: LifelineServer) -> None:
    """As on a reload by the repository API."""
    model = Model("model")
    assert launcher.died() == ""
    assert launcher.leaving() == set()
    model.lifeline.leave()
    assert launcher.leaving() == {"model"}
    model.die()
    assert launcher.died() == ""
    assert launcher.leaving() == set()
    assert launcher.serving() == set()


def test_a_drained_model_refuses_and_tells_when_it_has_answered_all(launcher: LifelineServer) -> None:
    model, other = Model("model", in_flight=1), Model("other")
    assert not launcher.drain(["model"], 0.2, lambda: False)
    assert model.drained
    assert not other.drained
    model.in_flight = 0
    assert launcher.drain(["model"], WAIT_S, lambda: False)


def test_a_drain_ends_with_the_server(launcher: LifelineServer) -> None:
    Model("model", in_flight=1)
    assert not launcher.drain(["model"], 60.0, lambda: True)


def test_a_model_that_dies_while_it_drains_holds_up_nothing(launcher: LifelineServer) -> None:
    model = Model("model", in_flight=1)
    assert launcher.died() == ""
    assert becomes(lambda: launcher.serving() == {"model"}, WAIT_S)
    model.die()
    assert launcher.drain(["model"], WAIT_S, lambda: False)


def test_without_a_launcher_there_is_no_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    Model("model").lifeline.leave()


def test_a_launcher_that_has_died_keeps_no_model_from_serving(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, "qwen-triton/lifeline/nobody")
    Model("model").lifeline.leave()
    assert "the launcher does not watch this process" in caplog.text


def test_a_launcher_without_descriptors_watches_those_it_knows_and_the_others_later(
    launcher: LifelineServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks on, and says once that it hears of no new one."""
    warns_anew(monkeypatch)
    known = Model("known")
    assert launcher.serving() == {"known"}
    with no_descriptors(but=1):
        Model("late")
        assert [launcher.died() for _ in range(5)] == [""] * 5
        assert launcher.serving() == {"known"}
        known.die()
        assert launcher.died() == "known"
        assert caplog.messages == [SHORT]
    assert launcher.serving() == {"late"}
