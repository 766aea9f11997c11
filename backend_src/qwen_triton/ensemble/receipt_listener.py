"""The engine model's side of the receipts: a thread that takes the reports of all processes of postprocessing."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
from threading import Event, Thread

from ..engines.process.server import listen, same_user
from .ack_ledger import Ledger
from .ack_socket import decode_report

_MOST_BYTES = 1 << 18
_LOOK_S = 0.5
"""Between two looks whether to stop, and between two tries to listen where another has the address."""

_log = logging.getLogger(__name__)


class ReceiptListener:
    """Writes into `ledger` what processes of the same user report at `address`, until stopped."""

    def __init__(self, ledger: Ledger, address: str) -> None:
        self._ledger = ledger
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="receipts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with self._selector:
            if listener := self._listen():
                with listener:
                    self._serve(listener)

    def _serve(self, listener: socket.socket) -> None:
        self._selector.register(listener, selectors.EVENT_READ)
        while not self._stopping.is_set():
            for key, _ in self._selector.select(_LOOK_S):
                if key.fileobj is listener:
                    self._accept(listener)
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
        for peer in [key.fileobj for key in self._selector.get_map().values()]:
            if isinstance(peer, socket.socket):
                peer.close()

    def _listen(self) -> socket.socket | None:
        """None when it was stopped before the address was free: an earlier model may still hold it."""
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                return listen(self._address, socket.SOCK_SEQPACKET)
            self._stopping.wait(_LOOK_S)
        return None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one that has gone again already
            peer, _ = listener.accept()
            if not same_user(peer):
                _log.warning("a process of another user wanted to report receipts; it is not heard")
                peer.close()
                return
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ)

    def _read(self, peer: socket.socket) -> None:
        try:
            data = peer.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(peer)
            peer.close()
            self._ledger.departed(peer)
        elif report := decode_report(data):
            self._ledger.heard(peer, *report)
