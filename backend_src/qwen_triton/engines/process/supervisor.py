"""Supervisor of an engine's process: starts it, waits until it serves, and restarts it when it ends unasked.

A process that already serves at the address, left by a model that died, is used instead of starting a second one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import threading
import time
from typing import Any

from ...errors import EngineError
from ..engine import EngineInfo
from ..kinds import ENGINES
from .client import connect
from .interpreter import find_interpreter
from .messages import encode_message

_POLL_S = 0.05
_log = logging.getLogger(__name__)


class EngineSupervisor:
    """Keeps one engine's process alive until `stop()`. `load_s`: seconds that loading the engine may take.

    An engine that ends within `stable_s` seconds of its start is restarted after pauses that grow up to `backoff_s`.
    """

    def __init__(
        self,
        options: dict[str, Any],
        address: str,
        owner_pid: int,
        *,
        load_s: float = 600.0,
        stable_s: float = 10.0,
        backoff_s: float = 30.0,
    ) -> None:
        kind = ENGINES.get(str(options.get("engine")))
        self._interpreter = find_interpreter(
            options.get("python"), kind.library if kind else "", kind.environment if kind else ""
        )
        self._command = [
            *(self._interpreter.python, "-m", "qwen_triton.engines.process.main", "--address", address),
            *("--owner-pid", str(owner_pid), "--options", "-"),
        ]
        self._options = json.dumps(options).encode()
        self._address = address
        self._load_s, self._stable_s, self._backoff_s = load_s, stable_s, backoff_s
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="engine-supervisor", daemon=True)

    def start(self) -> EngineInfo:
        """Returns the engine's facts once it serves. Raises EngineError when it ends or does not serve within `load_s`."""
        info = self._running_info()
        if info is None:
            self._spawn()
            info = self._wait_ready()
        self._watcher.start()
        return info

    def stop(self, grace_s: float = 5.0) -> None:
        """Ends the engine's process: asks it to, and kills it after `grace_s` seconds."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            peer, _, _ = connect(self._address)
            with contextlib.closing(peer):
                peer.sendall(encode_message("shutdown"))
        if self._process is not None:
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _running_info(self) -> EngineInfo | None:
        with contextlib.suppress(OSError):
            peer, info, _ = connect(self._address)
            peer.close()
            return info
        return None

    def _spawn(self) -> None:
        """The options go through stdin: a command line has a bounded length, and every user of the machine may read it."""
        with open(os.memfd_create("qwen-triton engine options"), "w+b") as options:
            options.write(self._options)
            options.seek(0)
            self._process = subprocess.Popen(self._command, stdin=options, env=self._interpreter.environment)

    def _wait_ready(self) -> EngineInfo:
        deadline = time.monotonic() + self._load_s
        while not self._stopping.is_set():
            info = self._running_info()
            if info is not None:
                return info
            if self._process is not None and self._process.poll() is not None:
                raise EngineError(
                    f"the engine's process ended with code {self._process.returncode}; its lines above say why"
                )
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
        """Returns when the engine has ended: by its exit code where this process started it, else by its address."""
        if self._process is not None:
            while self._process.poll() is None and not self._stopping.is_set():
                self._stopping.wait(_POLL_S)
            return
        while self._running_info() is not None and not self._stopping.is_set():
            self._stopping.wait(1.0)
