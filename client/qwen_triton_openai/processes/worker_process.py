"""A worker as the main process sees it: started with a job, asked to drain or to stop, and its exit code.

Its side is worker.py. What it held of the queue and the accounts is given back at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

from prometheus_client.multiprocess import mark_process_dead
from pydantic import BaseModel, ConfigDict

from ..settings import ShimSettings
from .link import Link, Message
from .shared_limits import LimitKeeper, WorkerClaims

COMMAND = (sys.executable, "-m", "qwen_triton_openai.processes.worker")
WRONG_SETTINGS = 2
"""Exit code of a worker whose settings cannot be used: no other worker could use them."""
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class Job(BaseModel):
    """What a worker is told at its start. `sockets`, `counts`, `slots` and `link` are descriptors that it inherits.

    `counts`: memory of all workers with the requests in flight of each, of which this one's is at `place`; `slots`: that of
    shared_room, with the same places.
    """

    model_config = ConfigDict(frozen=True)

    settings: ShimSettings
    sockets: list[int]
    counts: int
    slots: int
    place: int
    metrics_dir: str
    link: int = -1


class WorkerProcess:
    """One worker, from its start to its end. `sockets`: those of its job, which are the worker's alone once it runs."""

    def __init__(
        self, job: Job, sockets: Sequence[socket.socket], keeper: LimitKeeper, command: Sequence[str] = COMMAND
    ) -> None:
        self.ready = asyncio.Event()
        self._job = job
        self._sockets = sockets
        self._command = command
        self._link = Link(self._on_message, lambda: None)
        self._claims = WorkerClaims(keeper, job.place, self._link.send_soon)
        self._process: asyncio.subprocess.Process | None = None
        self._asked: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def run(self) -> int:
        """Starts the worker and returns its exit code when it has ended (negative: the signal that ended it)."""
        ours, theirs = socket.socketpair()
        await self._link.open(ours)
        try:
            with contextlib.ExitStack() as inherited:
                for each in (theirs, *self._sockets):
                    inherited.enter_context(each)
                if self._asked:
                    return 0
                process = await self._start(theirs.fileno())
            return await process.wait()
        finally:
            self._link.close()
            self._claims.give_back()

    def drain(self) -> None:
        """Accepted requests end, then the worker does."""
        self._ask("drain")

    def stop(self) -> None:
        """The worker ends soon, whatever its requests do."""
        self._ask("stop")

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    async def _start(self, link: int) -> asyncio.subprocess.Process:
        job = self._job.model_copy(update={"link": link})
        with os.fdopen(os.memfd_create("job"), "w+b") as told:  # unlike a pipe, written whether the worker lives or not
            told.write(job.model_dump_json().encode())
            told.seek(0)
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=told,
                pass_fds=(*job.sockets, job.counts, job.slots, link),
                env={**os.environ, _METRICS_VARIABLE: job.metrics_dir},
            )
        return self._process

    def _ask(self, message: str) -> None:
        self._asked.append(message)
        self._link.send(message)

    def _on_message(self, message: Message) -> None:
        if message[0] == "ready":
            self.ready.set()
        else:
            self._claims.on_message(message)


def forget_gauges(pid: int, metrics_dir: str) -> None:
    """Takes a dead worker's gauges out of the metrics; its counts stay."""
    mark_process_dead(pid, path=metrics_dir)  # type: ignore[no-untyped-call]  # the library's signature
