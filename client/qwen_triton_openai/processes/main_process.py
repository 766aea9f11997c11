"""The main process of several workers: starts them, replaces those that die, and decides what is for all of them.

Serves no request itself. It keeps the queue and the accounts of keys (shared_limits.py), and drains all together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import Sequence

import uvloop

from qwen_triton.errors import ConfigurationError

from ..middleware.keys import KeyRing
from ..middleware.queue import WaitQueue
from ..middleware.rate_limit import Accounts
from ..middleware.stack import default_limits
from ..settings import ShimSettings
from .listening import Address, addresses, bind
from .shared_limits import LimitKeeper
from .shared_numbers import new_numbers, numbers_in
from .shared_room import SharedRoom, new_memory
from .worker_process import COMMAND, WRONG_SETTINGS, Job, WorkerProcess, forget_gauges

_STARTS = 3
"""So many starts in a row that failed end the shim."""
_SOUND_S = 10.0
"""A worker that lived so long is replaced at once, one that did not after a time that doubles with each."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 10.0
_GRACE_S = 10.0
"""How long a worker may take to end beyond the time that it has for its requests."""
_log = logging.getLogger(__name__)


def serve_with_workers(settings: ShimSettings, workers: int, command: Sequence[str] = COMMAND) -> int:
    """Serves with so many workers until a signal. Returns the exit code: 0 after the drain, 1 when the workers could not
    start, 2 when their settings cannot be used.

    Raises ConfigurationError for keys that cannot be read, and where no folder for temporary files can be written.
    """
    ring = KeyRing(settings.api_keys_file)
    try:
        folder = tempfile.TemporaryDirectory(prefix="qwen-triton-metrics-")
    except OSError as error:
        reason = "no folder for the workers' metrics can be made; set TMPDIR to one that can be written"
        raise ConfigurationError(f"{reason}: {error}") from None
    with folder:
        try:
            known = addresses(settings.host, settings.port)
        except OSError as error:
            _log.error("%s:%d: %s", settings.host, settings.port, error)
            return 1
        return uvloop.run(_run(settings, workers, known, ring, folder.name, command))


async def _run(
    settings: ShimSettings,
    workers: int,
    known: list[Address],
    ring: KeyRing,
    folder: str,
    command: Sequence[str],
) -> int:
    slots = new_memory(workers)
    try:
        room = SharedRoom(slots, settings.max_in_flight)
        queue = WaitQueue(settings.max_in_flight, settings.max_queued, room)
        keeper = LimitKeeper(queue, room, Accounts(), ring, default_limits(settings))
        return await MainProcess(settings, workers, known, keeper, slots, folder, command).run()
    finally:
        os.close(slots)


class MainProcess:
    """`known`: the addresses to listen at; `slots`: the memory of the keeper's room; `metrics_dir`: where the workers count."""

    def __init__(
        self,
        settings: ShimSettings,
        workers: int,
        known: list[Address],
        keeper: LimitKeeper,
        slots: int,
        metrics_dir: str,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._settings = settings
        self._known = known
        self._keeper = keeper
        self._slots = slots
        self._metrics_dir = metrics_dir
        self._command = command
        self._workers: list[WorkerProcess | None] = [None] * workers
        self._counts = new_numbers("requests-in-flight", workers)
        self._count_view = numbers_in(self._counts)
        self._leaving = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Returns the exit code when all workers have ended after a signal, or when they cannot start."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(name, self._on_signal)
        try:
            await self._serve()
        finally:
            os.close(self._counts)
        return self._code

    async def _serve(self) -> None:
        """The first worker starts alone: what keeps all of them from starting is said once."""
        ready = asyncio.Event()
        keeping = [asyncio.create_task(self._keep(0, ready))]
        first = asyncio.create_task(ready.wait())
        await asyncio.wait((*keeping, first), return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        keeping += [asyncio.create_task(self._keep(place, ready)) for place in range(1, len(self._workers))]
        await asyncio.gather(*keeping)

    async def _keep(self, place: int, ready: asyncio.Event) -> None:
        """Keeps a worker running at this place until the shim leaves."""
        failed_starts, pause_s = 0, _FIRST_PAUSE_S
        while not self._leaving.is_set():
            began = asyncio.get_running_loop().time()
            worker: WorkerProcess | None
            try:
                worker, code = await self._run_one(place, ready)
            except OSError as error:  # no socket or no process: the next try may find one
                _log.error("worker %d cannot start: %s", place, error)
                worker, code = None, 1
            if self._leaving.is_set():
                return
            failed_starts = 0 if worker and worker.ready.is_set() else failed_starts + 1
            if code == WRONG_SETTINGS or failed_starts == _STARTS:
                _log.error("worker %d cannot start: exit code %d", place, code)
                self._give_up(WRONG_SETTINGS if code == WRONG_SETTINGS else 1)
                return
            if worker:
                _log.error("worker %d (process %d) ended with exit code %d; another starts", place, worker.pid, code)
            sound = asyncio.get_running_loop().time() - began > _SOUND_S
            pause_s = _FIRST_PAUSE_S if sound else min(2 * pause_s, _LONGEST_PAUSE_S)
            if not sound:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._leaving.wait(), pause_s)

    async def _run_one(self, place: int, ready: asyncio.Event) -> tuple[WorkerProcess, int]:
        sockets = bind(self._known)
        job = Job(
            settings=self._settings,
            sockets=[sock.fileno() for sock in sockets],
            counts=self._counts,
            slots=self._slots,
            place=place,
            metrics_dir=self._metrics_dir,
        )
        worker = self._workers[place] = WorkerProcess(job, sockets, self._keeper, self._command)
        telling = asyncio.create_task(_set_after(worker.ready, ready))
        try:
            code = await worker.run()
        finally:
            telling.cancel()
            self._workers[place] = None
            self._count_view[place] = 0
        forget_gauges(worker.pid, self._metrics_dir)
        return worker, code

    def _on_signal(self) -> None:
        """The first drains all workers, the second ends them."""
        if not self._leaving.is_set():
            self._leave()
        else:
            self._stop()

    def _leave(self) -> None:
        self._leaving.set()
        for worker in filter(None, self._workers):
            worker.drain()
        self._kill_after(self._settings.drain_notice_s + self._settings.drain_s + _GRACE_S)

    def _stop(self) -> None:
        for worker in filter(None, self._workers):
            worker.stop()
        self._kill_after(_GRACE_S)

    def _give_up(self, code: int) -> None:
        self._code = self._code or code
        self._leaving.set()
        self._stop()

    def _kill_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._kill)

    def _kill(self) -> None:
        for worker in filter(None, self._workers):
            worker.kill()


async def _set_after(first: asyncio.Event, second: asyncio.Event) -> None:
    await first.wait()
    second.set()
