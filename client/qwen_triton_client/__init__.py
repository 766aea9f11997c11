"""Clients of Triton's models: a session for programs, and the commands `generate` and `chat` for people.

Knows no engine and no OpenAI endpoint. Imports from the core's errors, types, chat, tensors and kserve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session as Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    """Imports `Session` when it is asked for, because the commands start sooner without its libraries."""
    if name == "Session":
        from .session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
