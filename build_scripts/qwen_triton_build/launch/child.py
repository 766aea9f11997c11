"""What the launcher knows of the processes it owns: how to start, ask, end and quote one."""

from __future__ import annotations

from typing import Protocol


class Child(Protocol):
    """A process, or several that live and die together. It may be started again after `stop()`."""

    @property
    def name(self) -> str:
        """What a person calls it: `tritonserver`, `the OpenAI shim`."""

    def start(self) -> None:
        """Starts it and returns at once. Raises ConfigurationError when it cannot be started."""

    def ready(self) -> bool:
        """Whether it answers requests now."""

    def poll(self) -> int | None:
        """Its exit code once it has ended; None before."""

    def stop(self) -> None:
        """Ends it in order: what it accepted is finished within its own grace. Leaves nothing behind; may be repeated."""

    def kill(self) -> None:
        """Ends it at once; a `stop()` that waits returns."""

    def last_lines(self) -> list[str]:
        """The last lines it printed that tell why it ended; none when they went to the terminal."""
