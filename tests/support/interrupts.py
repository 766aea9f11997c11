"""Interrupting a child (SIGINT) where the tests themselves run with SIGINT ignored.

A shell without job control starts `make test &` with SIGINT ignored, and a process inherits that through exec. Commands
that install no handler (`generate`, `chat`) then rightly leave it ignored, so a test that interrupts one must start it
with the default action.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible_children() -> Iterator[None]:
    """Processes started inside the block have the default action for SIGINT. Main thread only.

    The parent's handler is changed and put back: exec resets a handler to the default action but keeps «ignored», and
    no Python code has to run between fork and exec, which is unsafe in a process with gRPC's threads.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
