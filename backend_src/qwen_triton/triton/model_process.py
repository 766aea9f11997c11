"""Sets up the process of one model: its log, its threads, what it inherits, and that it ends with the server, also with one
that is stuck."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Sequence

from ..engines.process.log_lines import start_logging
from ..serving.threads import BackgroundThread

_SWITCH_S = 0.001
"""Between two switches of threads: with Python's own 5 ms, one that computes delays each new request by as much; with 0.2 ms
the senders take the lock from each other while they build their responses, which costs 5 % of a streamed token."""
_COLLECT_AFTER = 20_000
"""New objects between two garbage collections: with Python's own 700, each step of 500 requests would start one."""
_STDERR = 2
_LOOK_S = 1.0
_LOOKS = 30
"""Looks at one batch of at most 16 responses, each of which the server takes in less than a millisecond, before the server
counts as stuck. A machine that is frozen meanwhile does not look; a server that is stopped for ten seconds goes on."""
_STUCK = (
    "tritonserver has taken no response for %d s: it is stuck, as its gRPC front end can be after a client has cancelled "
    "a stream (docs/exact-text.md has the reason). Requests hang until it is started again%s"
)
_log = logging.getLogger(__name__)


def server_pid() -> int:
    """The process id of the tritonserver that started this model's process."""
    return os.getppid()


def _end_with(server: int) -> None:
    """Waits for the process of this descriptor to end, then ends this one without cleanup: nothing of it is used again."""
    select.select([server], [], [])
    os._exit(1)


def _close_connections() -> None:
    """Closes the connections of the server's clients.

    A process that begins while they are open inherits those of Triton's HTTP server. Held here too, a connection would not end
    when the server closes it, and a client that reads to its end (HTTP/1.0, as many proxies speak it) would wait for ever.
    """
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor <= _STDERR:
            continue
        with contextlib.suppress(OSError):  # no socket, or the listing's own descriptor
            inherited = socket.socket(fileno=descriptor)
            if inherited.family in (socket.AF_INET, socket.AF_INET6):
                inherited.close()
            else:
                inherited.detach()


def prepare_process(model: str) -> None:
    """Sets up logging to the server's log with the model's name, and a thread that ends this process with the server.

    To be called before this process opens a connection of its own, because it closes all that it has inherited.

    A server that ends before its models are unloaded (killed, or after its exit timeout) leaves their processes running.
    The tokenizer gets no threads of its own, because each text is encoded by one thread (serving.threads has several).
    """
    _close_connections()
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    threading.Thread(target=_end_with, args=(os.pidfd_open(server_pid()),), name="server-watch", daemon=True).start()
    start_logging(f"%(levelname)s {model}: %(message)s")


class StuckServerWatch(BackgroundThread):
    """Ends this process when the server is stuck, so that the launcher acts on it; says so in the log where there is none.

    `batches()`: the number of the batch that each sender is sending, None for none (Dispatcher). `launched`: whether a
    launcher notices the end of this process.
    """

    def __init__(self, batches: Callable[[], Sequence[int | None]], launched: bool) -> None:
        super().__init__("stuck-server-watch")
        self._batches = batches
        self._launched = launched

    def _run(self) -> None:
        before: Sequence[int | None] = ()
        looks = [0] * len(self._batches())
        while not self._stopping.wait(_LOOK_S):
            now = self._batches()
            for sender, (batch, former) in enumerate(zip(now, before, strict=False)):
                looks[sender] = looks[sender] + 1 if batch is not None and batch == former else 0
            before = now
            if max(looks) >= _LOOKS:
                looks = [0] * len(now)
                self._tell()

    def _tell(self) -> None:
        if self._launched:
            _log.error(_STUCK, _LOOKS * _LOOK_S, "; this process ends, so that the launcher does it")
            os._exit(1)
        _log.error(_STUCK, _LOOKS * _LOOK_S, "")
