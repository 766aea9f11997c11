"""Acknowledgements from postprocessing to the engine model: whole, in order, from the same user only, and never in the way."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from qwen_triton.ensemble import ack_socket
from qwen_triton.ensemble.ack_ledger import AckLedger
from qwen_triton.ensemble.ack_socket import AckListener, AckSender, decode_report, encode_report
from tests.support.live.waiting import becomes

WITHIN_S = 10


class Recorded(AckLedger):
    """Keeps the reports."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[list[tuple[int, int]]] = []
        self.left = 0

    def on_report(self, process: object, at_ns: int, acks: Sequence[tuple[int, int]]) -> None:  # noqa: ARG002
        assert at_ns <= time.monotonic_ns()
        self.reports.append(list(acks))

    def on_disconnect(self, process: object) -> None:  # noqa: ARG002
        self.left += 1


@pytest.fixture
def address() -> str:
    return f"qwen-triton-test/{secrets.token_hex(8)}"


@pytest.fixture
def ledger(address: str) -> Iterator[Recorded]:
    recorded = Recorded()
    listener = AckListener(recorded, address)
    listener.start()
    yield recorded
    listener.stop()


@pytest.fixture
def sender(address: str) -> Iterator[AckSender]:
    """Its thread is not started: tests report by hand."""
    made = AckSender(address)
    yield made
    made._close()


def connected(address: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    assert becomes(lambda: peer.connect_ex("\0" + address) == 0, WITHIN_S)
    return peer


def test_a_report_is_decoded_as_it_was_encoded() -> None:
    for acks in ([], [(1, 2)], [(2**31 - 1, 2**62), (5, 6)]):
        assert decode_report(encode_report(77, acks)) == (77, acks)


def test_a_report_has_the_latest_chunk_of_each_request(ledger: Recorded, sender: AckSender) -> None:
    for number, sent_ns in [(1, 5), (2, 6), (1, 9), (1, 8)]:
        with sender.working():
            sender.add(number, sent_ns)
    assert becomes(lambda: sender.report() or bool(ledger.reports), WITHIN_S)
    assert becomes(lambda: {(1, 9), (2, 6)} <= set(ledger.reports[0]), WITHIN_S)


def test_a_thread_reports_without_being_asked(address: str, ledger: Recorded) -> None:
    sender = AckSender(address)
    sender.start()
    assert becomes(lambda: [] in ledger.reports, WITHIN_S)
    sender.add(3, 4)
    assert becomes(lambda: [(3, 4)] in ledger.reports, WITHIN_S)
    sender.stop()
    assert becomes(lambda: ledger.left == 1, WITHIN_S)


def test_a_process_that_works_does_not_say_that_it_has_nothing_to_do(ledger: Recorded, sender: AckSender) -> None:
    """Neither during the work nor in the first report after it."""
    with sender.working():
        assert becomes(lambda: sender.report() or bool(ledger.reports), WITHIN_S)
        sender.report()
        sender.report()
    sender.report()
    sender.report()
    assert becomes(lambda: ledger.reports[-1] == [], WITHIN_S)
    assert ledger.reports[:-1] == [[(0, 0)]] * (len(ledger.reports) - 1)
    assert len(ledger.reports) >= 4


def test_nobody_listens(address: str, sender: AckSender) -> None:
    """It costs nothing, and what was added is sent to whoever comes."""
    sender.add(1, 2)
    before = time.monotonic()
    for _ in range(100):
        sender.report()
    assert time.monotonic() - before < 1
    recorded = Recorded()
    listener = AckListener(recorded, address)
    listener.start()
    assert becomes(lambda: sender.report() or [(1, 2)] in recorded.reports, WITHIN_S)
    listener.stop()


def test_what_nobody_takes_is_not_kept_without_bound(sender: AckSender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_triton.ensemble.ack_socket._MOST_UNSENT", 3)
    for number in range(10):
        sender.add(number, 1)
        sender.report()
    assert len(sender._unsent) <= 3


def test_a_full_buffer_delays_acks_and_loses_none(
    address: str, sender: AckSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener that takes nothing for a while; adding goes on meanwhile."""
    monkeypatch.setattr("qwen_triton.ensemble.ack_socket._SEND_S", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stalled:
        stalled.bind("\0" + address)
        stalled.listen()
        sender.report()
        peer = sender._peer
        for number in range(100_000):
            sender.add(number % 50, number)
            sender.report()
            if sender._peer is not peer:
                break
        assert sender._unsent == {number % 50: number}
        sender.add(number % 50, number + 50)
    recorded = Recorded()
    listener = AckListener(recorded, address)
    listener.start()
    assert becomes(lambda: sender.report() or bool(recorded.reports), WITHIN_S)
    assert becomes(lambda: [(number % 50, number + 50)] in recorded.reports, WITHIN_S)
    listener.stop()


def test_an_engine_model_that_is_loaded_anew_is_found(address: str, sender: AckSender) -> None:
    """The later one waits for the address while the earlier one still holds it."""
    first, second = Recorded(), Recorded()
    old, new = AckListener(first, address), AckListener(second, address)
    old.start()
    assert becomes(lambda: sender.report() or bool(first.reports), WITHIN_S)
    new.start()
    time.sleep(0.1)
    old.stop()
    assert becomes(lambda: sender.report() or bool(second.reports), WITHIN_S)
    new.stop()


def test_garbage_is_ignored_and_does_no_harm(address: str, ledger: Recorded, sender: AckSender) -> None:
    with connected(address) as peer:
        for garbage in (b"x", b"hello, world", secrets.token_bytes(8 + 12 * 5 + 3), bytes(100_000)):
            peer.send(garbage)
        assert becomes(lambda: sender.report() or bool(ledger.reports), WITHIN_S)
    assert becomes(lambda: ledger.left == 1, WITHIN_S)
    assert all(report == [] for report in ledger.reports)


def test_another_user_is_disconnected(address: str, ledger: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ack_socket, "same_user", lambda _: False)
    with connected(address) as peer:
        peer.settimeout(WITHIN_S)
        assert peer.recv(1) == b""
    assert ledger.reports == []
