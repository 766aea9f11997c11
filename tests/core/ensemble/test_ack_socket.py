"""Acknowledgements from postprocessing to the engine model: whole, in order, from the same user only, and never in the way."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from qwen_triton.engines.process.loads import EngineLoad
from qwen_triton.ensemble import ack_socket
from qwen_triton.ensemble.ack_ledger import AckLedger
from qwen_triton.ensemble.ack_socket import AckListener, AckSender, decode_report, encode_report
from qwen_triton.ensemble.ack_tag import AckTag
from tests.support.descriptors import SHORT, no_descriptors, turns_in_circles, warns_anew
from tests.support.live.waiting import becomes

WITHIN_S = 10


class Recorded(AckLedger):
    """Keeps the reports."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[list[tuple[int, int]]] = []
        self.newest: list[int] = []
        self.models: list[object] = []
        self.left = 0

    def on_connect(self, process: object, model: object) -> None:  # noqa: ARG002
        self.models.append(model)

    def on_report(self, process: object, at_ns: int, acks: Sequence[tuple[int, int]], newest_ns: int = 0) -> None:  # noqa: ARG002
        assert at_ns <= time.monotonic_ns()
        self.reports.append(list(acks))
        self.newest.append(newest_ns)

    def on_disconnect(self, process: object) -> None:  # noqa: ARG002
        self.left += 1


class Loads:
    """Loads in folders of their own, each with a listener while it is open; a load is found while it is published."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(dir="/dev/shm"))
        self.published: list[EngineLoad] = []
        self.listeners: dict[int, AckListener] = {}

    def open(self, number: int) -> Recorded:
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        load = EngineLoad("server", "/r", "tensorrt_llm", 1, number, 0, str(folder))
        recorded = Recorded()
        self.listeners[number] = AckListener(recorded, load.acks_socket)
        self.listeners[number].start()
        self.published.append(load)
        return recorded

    def withdraw(self, number: int) -> None:
        self.published = [load for load in self.published if load.number != number]

    def close(self, number: int) -> None:
        self.withdraw(number)
        self.listeners.pop(number).stop()


@pytest.fixture
def loads() -> Iterator[Loads]:
    made = Loads()
    yield made
    for number in list(made.listeners):
        made.close(number)
    rmtree(made.folder)


@pytest.fixture
def ledger(loads: Loads) -> Recorded:
    """That of load 7."""
    return loads.open(7)


@pytest.fixture
def sender(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> Iterator[AckSender]:
    """Its thread is not started: tests report by hand, and it looks for loads at each report."""
    monkeypatch.setattr(ack_socket, "_FIND_S", 0.0)
    made = AckSender(lambda: loads.published, "/r/postprocessing")
    yield made
    made.close()


def connected(loads: Loads) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(loads.published[0].acks_socket)
    return peer


def test_a_report_is_decoded_as_it_was_encoded() -> None:
    for acks in ([], [(1, 2)], [(2**31 - 1, 2**62), (5, 6)]):
        assert decode_report(encode_report(77, 66, acks)) == (77, 66, acks)


def test_a_report_has_the_latest_chunk_of_each_request(ledger: Recorded, sender: AckSender) -> None:
    for number, sent_ns in [(1, 5), (2, 6), (1, 9), (1, 8)]:
        with sender.working():
            sender.add(AckTag(7, number, sent_ns))
    sender.report()
    assert becomes(lambda: bool(ledger.reports), WITHIN_S)
    assert {(1, 9), (2, 6)} <= set(ledger.reports[0])
    assert ledger.newest == [9]


def test_a_thread_reports_without_being_asked(loads: Loads, ledger: Recorded) -> None:
    sender = AckSender(lambda: loads.published, "/r/postprocessing")
    sender.start()
    assert becomes(lambda: [] in ledger.reports, WITHIN_S)
    sender.add(AckTag(7, 3, 4))
    assert becomes(lambda: [(3, 4)] in ledger.reports, WITHIN_S)
    sender.stop()
    assert becomes(lambda: ledger.left == 1, WITHIN_S)


def test_a_process_that_works_does_not_say_that_it_has_nothing_to_do(ledger: Recorded, sender: AckSender) -> None:
    """Neither during the work nor in the first report after it."""
    with sender.working():
        sender.report()
        sender.report()
        sender.report()
    sender.report()
    sender.report()
    assert becomes(lambda: len(ledger.reports) == 5, WITHIN_S)
    assert ledger.reports == [[(0, 0)]] * 4 + [[]]


def test_each_load_gets_its_own_acknowledgements(loads: Loads, ledger: Recorded, sender: AckSender) -> None:
    """Two engine models, or two loads of one; each also hears when the newest chunk of all was begun, and the model."""
    other = loads.open(8)
    with sender.working():
        sender.add(AckTag(7, 1, 5))
        sender.add(AckTag(8, 1, 6))
    sender.report()
    sender.report()
    assert becomes(lambda: len(ledger.reports) == len(other.reports) == 2, WITHIN_S)
    assert (ledger.reports, ledger.newest) == ([[(1, 5), (0, 0)], []], [6, 0])
    assert (other.reports, other.newest) == ([[(1, 6), (0, 0)], []], [6, 0])
    assert ledger.models == other.models
    assert len(ledger.models) == 1


def test_models_of_another_name_or_repository_have_another_name(
    loads: Loads, ledger: Recorded, sender: AckSender
) -> None:
    others = [
        AckSender(lambda: loads.published, name) for name in ("/r/post", "/s/postprocessing", "/r/postprocessing")
    ]
    for each in (sender, *others):
        each.report()
    assert becomes(lambda: len(ledger.models) == 4, WITHIN_S)
    assert len(set(ledger.models)) == 3
    for each in others:
        each.close()


def test_nobody_listens(loads: Loads, sender: AckSender) -> None:
    """It costs nothing, and what was added is sent to whoever comes."""
    sender.add(AckTag(7, 1, 2))
    before = time.monotonic()
    for _ in range(100):
        sender.report()
    assert time.monotonic() - before < 1
    recorded = loads.open(7)
    assert becomes(lambda: sender.report() or [(1, 2)] in recorded.reports, WITHIN_S)


@pytest.mark.parametrize("load", ["one", "many"])
def test_what_nobody_takes_is_not_kept_without_bound(
    sender: AckSender, monkeypatch: pytest.MonkeyPatch, load: str
) -> None:
    monkeypatch.setattr("qwen_triton.ensemble.ack_socket._MOST_UNSENT", 3)
    for number in range(10):
        sender.add(AckTag(number if load == "many" else 7, number, 1))
        sender.report()
    assert sum(map(len, sender._unsent.values())) <= 3


def test_a_full_buffer_delays_acks_and_loses_none(
    loads: Loads, sender: AckSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener that takes nothing for a while; adding goes on meanwhile."""
    monkeypatch.setattr("qwen_triton.ensemble.ack_socket._SEND_S", 0.05)
    loads.open(7)
    loads.listeners.pop(7).stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stalled:
        address = loads.published[0].acks_socket
        Path(address).unlink()
        stalled.bind(address)
        stalled.listen()
        sender.report()
        peer = sender._peers[7]
        for number in range(100_000):
            sender.add(AckTag(7, number % 50, number))
            sender.report()
            if sender._peers.get(7) is not peer:
                break
        assert sender._unsent == {7: {number % 50: number}}
        sender.add(AckTag(7, number % 50, number + 50))
    loads.published = []
    recorded = loads.open(7)
    assert becomes(lambda: sender.report() or bool(recorded.reports), WITHIN_S)
    assert becomes(lambda: [(number % 50, number + 50)] in recorded.reports, WITHIN_S)


def test_a_load_that_is_no_longer_found_gets_what_is_its_own(loads: Loads, ledger: Recorded, sender: AckSender) -> None:
    """While the model is reloaded: new chunks are the new load's, the last ones of the old go to the old."""
    sender.report()
    loads.withdraw(7)
    new = loads.open(8)
    sender.add(AckTag(8, 2, 3))
    sender.report()
    sender.add(AckTag(7, 1, 4))
    sender.report()
    assert becomes(lambda: ledger.reports == [[], [], [(1, 4)]], WITHIN_S)
    assert becomes(lambda: new.reports == [[(2, 3)], []], WITHIN_S)
    loads.close(7)
    assert becomes(lambda: sender.report() or list(sender._peers) == [8], WITHIN_S)


def test_garbage_is_ignored_and_does_no_harm(loads: Loads, ledger: Recorded, sender: AckSender) -> None:
    with connected(loads) as peer:
        for garbage in (b"x", bytes(16), b"hello, world", secrets.token_bytes(16 + 12 * 5 + 3), bytes(100_001)):
            peer.send(garbage)
        sender.report()
        assert becomes(lambda: bool(ledger.reports), WITHIN_S)
    assert becomes(lambda: ledger.left == 1, WITHIN_S)
    assert all(report == [] for report in ledger.reports)


def test_another_user_is_disconnected(loads: Loads, ledger: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_triton.engines.process.socket.same_user", lambda _: False)
    with connected(loads) as peer:
        peer.settimeout(WITHIN_S)
        assert peer.recv(1) == b""
    assert ledger.reports == []


def test_nothing_is_sent_to_another_user(ledger: Recorded, sender: AckSender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_triton.engines.process.socket.same_user", lambda _: False)
    sender.add(AckTag(7, 1, 2))
    sender.report()
    assert (sender._peers, ledger.reports) == ({}, [])


def test_without_descriptors_a_listener_hears_those_it_knows_and_the_others_later(
    loads: Loads,
    ledger: Recorded,
    sender: AckSender,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The new one waits, and neither the log nor a core is filled with it."""
    warns_anew(monkeypatch)
    sender.report()
    assert becomes(lambda: ledger.reports == [[]], WITHIN_S)
    with no_descriptors(but=1):
        late = connected(loads)
        assert becomes(lambda: caplog.messages == [SHORT], WITHIN_S)
        assert not turns_in_circles()
        sender.add(AckTag(7, 1, 2))
        sender.report()
        assert becomes(lambda: ledger.reports == [[], [(1, 2)]], WITHIN_S)
    late.send(bytes(16))
    assert becomes(lambda: bytes(16) in ledger.models, WITHIN_S)
    assert caplog.messages == [SHORT]
    late.close()


def test_a_listener_without_descriptors_can_be_stopped(
    loads: Loads, ledger: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It listens no more, as after any stop."""
    warns_anew(monkeypatch)
    listener = loads.listeners[7]
    with no_descriptors(but=1), connected(loads):
        assert becomes(lambda: caplog.messages == [SHORT], WITHIN_S)
        loads.close(7)
    assert listener._listener.fileno() == -1
    assert ledger.models == []
