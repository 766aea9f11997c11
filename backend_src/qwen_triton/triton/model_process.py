"""The process of one model: its log, its threads, its end with the server."""

from __future__ import annotations

import gc
import logging
import os
import select
import sys
import threading

_SWITCH_S = 0.0002


_COLLECT_AFTER = 20_000
"""New objects between two garbage collections: with Python's own 700 each step of 500 requests would start one."""


def server_pid() -> int:
    """The tritonserver that this model's stub belongs to."""
    return os.getppid()


def _end_with(server: int) -> None:
    """Waits for the process of this descriptor to end, then ends this one: there is nobody left to tell."""
    select.select([server], [], [])
    os._exit(1)


def prepare_process(model: str) -> None:
    """Log lines go to the server's log with the model's name; threads take turns often; the process ends with its server.

    With Python's own 5 ms a thread that computes would keep each new request waiting for that long. Prompts come one
    at a time, so the tokenizer needs no threads of its own. A server that ends before its models are unloaded (killed,
    or its exit timeout over) would leave the stub running for ever.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    threading.Thread(target=_end_with, args=(os.pidfd_open(server_pid()),), name="server-watch", daemon=True).start()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"%(levelname)s {model}: %(message)s")
