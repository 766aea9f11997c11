"""A worker, `python -m qwen_triton_openai.processes.worker`: serves sockets that it inherits, and ends with the main process.

Its standard input has a job (`Job`) as JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from qwen_triton.engines.process.log_lines import start_logging
from qwen_triton.errors import ConfigurationError

from ..app import create_app
from ..backend.triton import Backend
from ..middleware.drain import Drain
from ..middleware.stack import AllWorkers
from .link import Link, Message
from .server import LOG_FORMAT, DrainingServer, tune_garbage_collector
from .shared_limits import Questions, RemoteAccounts, RemoteQueue
from .shared_numbers import numbers_in
from .shared_room import SharedRoom
from .worker_process import WRONG_SETTINGS, Job

_PR_SET_PDEATHSIG = 1


class _WorkerServer(DrainingServer):
    """A server that drains and stops when the main process says so, and stops when that one is gone."""

    def __init__(self, job: Job, connect: Callable[[str], Backend] | None) -> None:
        self._job = job
        self._link = Link(self._on_message, self._on_lost)
        self._questions = Questions(self._link.send, self._link.send_soon)
        room = SharedRoom(job.slots, job.settings.max_in_flight)
        queue = RemoteQueue(self._questions, room, job.place)
        shared = AllWorkers(queue, RemoteAccounts(self._questions), Path(job.metrics_dir))
        drain = Drain(numbers_in(job.counts), job.place)
        super().__init__(create_app(job.settings, connect, drain, shared), job.settings)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._link.open(socket.socket(fileno=self._job.link))
        await asyncio.sleep(0)  # the main process may have asked for the end already
        if self.should_exit:
            return
        await super().startup(sockets)
        self._link.send("ready")

    def _on_message(self, message: Message) -> None:
        if message[0] == "drain":
            self.begin_drain()
        elif message[0] == "stop":
            self.stop_now()
        else:
            self._questions.on_message(message)

    def _on_lost(self) -> None:
        self._questions.close()
        self.stop_now()


def main(connect: Callable[[str], Backend] | None = None) -> int:
    """Serves until the main process says otherwise; `connect` as for `create_app`. Returns the exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    start_logging(LOG_FORMAT)
    job = Job.model_validate_json(sys.stdin.buffer.read())
    try:
        server = _WorkerServer(job, connect)
    except ConfigurationError as error:
        print(f"qwen-triton: {error}", file=sys.stderr)
        return WRONG_SETTINGS
    tune_garbage_collector()
    server.run(sockets=[socket.socket(fileno=number) for number in job.sockets])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
