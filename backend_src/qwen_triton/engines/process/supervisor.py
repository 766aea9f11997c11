"""Supervisor of an engine's process: starts it, waits until it serves, and restarts it when it ends unasked."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from typing import Any

from ...errors import EngineError
from ..engine import EngineInfo
from ..kinds import ENGINES
from .client import connect
from .interpreter import find_interpreter
from .loads import OwnLoad
from .messages import encode_message

_POLL_S = 0.05
_ASK_S = 2.0
"""Between two questions whether an engine that is to end still answers."""
_log = logging.getLogger(__name__)


class EngineSupervisor:
    """Keeps one engine's process alive until `stop()`, at the socket of `own`. `load_s`: seconds that loading may take.

    An engine that ends within `stable_s` seconds of its start is restarted after pauses that grow up to `backoff_s`.
    """

    def __init__(
        self,
        options: dict[str, Any],
        own: OwnLoad,
        server_pid: int,
        *,
        load_s: float = 600.0,
        stable_s: float = 10.0,
        backoff_s: float = 30.0,
    ) -> None:
        kind = ENGINES.get(str(options.get("engine")))
        self._interpreter = find_interpreter(
            options.get("python"), kind.requires if kind else "", kind.environment if kind else ""
        )
        self._command = [
            *(self._interpreter.python, "-m", "qwen_triton.engines.process.main", "--folder", str(own.folder)),
            *("--server-pid", str(server_pid), "--model-pid", str(os.getpid()), "--options", "-"),
        ]
        self._options = json.dumps(options).encode()
        self._own = own
        self._address = own.load.engine_socket
        self._load_s, self._stable_s, self._backoff_s = load_s, stable_s, backoff_s
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="engine-supervisor", daemon=True)

    def start(self) -> EngineInfo:
        """Returns the engine's facts once it serves.

        Raises EngineError, with the engine's own words, when it ends or does not serve within `load_s`.
        """
        try:
            self._spawn()
            info = self._wait_ready()
        except EngineError:
            self.kill()
            raise
        self._watcher.start()
        return info

    def stop(self, unanswered_s: float = 60.0) -> None:
        """Asks the engine's process to end, and returns when it has: it finishes the sequences that it has.

        It is killed when it does not answer for `unanswered_s` seconds.
        """
        with self._starting:
            self._stopping.set()
        if self._process is None:
            return
        self._tell("leave")
        answered = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_ASK_S)
                return
            if self._running_info() is not None:
                answered = time.monotonic()
            elif time.monotonic() - answered > unanswered_s:
                self.kill()

    def kill(self) -> None:
        """Ends the engine's process at once."""
        with self._starting:
            self._stopping.set()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _tell(self, message: str) -> None:
        with contextlib.suppress(OSError):
            peer, _, _ = connect(self._address)
            with contextlib.closing(peer):
                peer.sendall(encode_message(message))

    def _running_info(self) -> EngineInfo | None:
        with contextlib.suppress(OSError):
            peer, info, _ = connect(self._address)
            peer.close()
            return info
        return None

    def _spawn(self) -> None:
        """The options go through stdin: a command line has a bounded length, and every user of the machine may read it."""
        with self._starting, open(os.memfd_create("qwen-triton engine options"), "w+b") as options:
            options.write(self._options)
            options.seek(0)
            if not self._stopping.is_set():
                self._process = subprocess.Popen(
                    self._command, stdin=options, env=self._interpreter.environment, pass_fds=(self._own.lock,)
                )

    def _wait_ready(self) -> EngineInfo:
        deadline = time.monotonic() + self._load_s
        while not self._stopping.is_set():
            info = self._running_info()
            if info is not None:
                return info
            code = self._process.poll() if self._process is not None else None
            if code is not None:
                raise EngineError(f"the engine did not start: {self._own.failure() or _end_in_words(code)}")
            if time.monotonic() > deadline:
                raise EngineError(f"the engine was not ready after {self._load_s:.0f} s")
            time.sleep(_POLL_S)
        raise EngineError("stopped while the engine was loading")

    def _watch(self) -> None:
        pause = _POLL_S
        while not self._stopping.is_set():
            started = time.monotonic()
            self._wait_for_end()
            if self._stopping.is_set():
                return
            pause = _POLL_S if time.monotonic() - started > self._stable_s else min(pause * 4, self._backoff_s)
            _log.error("the engine's process ended; starting it again in %.1f s", pause)
            if self._stopping.wait(pause):
                return
            self._spawn()
            try:
                self._wait_ready()
            except EngineError as error:
                _log.error("%s", error)

    def _wait_for_end(self) -> None:
        while self._process is not None and self._process.poll() is None and not self._stopping.is_set():
            self._stopping.wait(_POLL_S)


def _end_in_words(code: int) -> str:
    """What the exit code of a process without last words says."""
    if code == -signal.SIGKILL:
        return "its process was killed; a kernel that is out of memory does that"
    return f"its process ended with code {code}; its lines in the server's log say why"
