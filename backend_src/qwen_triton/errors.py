"""Every error of the project, as a tree; each edge maps it once (Triton code, HTTP status, exit code).

QwenTritonError
├── InvalidRequest     the caller's fault: the message is shown, it names the field and the remedy
├── Unavailable        not now: queue full, engine being restarted; the caller may try again
├── Cancelled          the caller left or asked to stop
├── EngineError        ours: logged with a request id, the caller sees only that id
└── ConfigurationError the operator's fault: a wrong key, file or environment; shown, with the remedy
"""

from __future__ import annotations

import logging
import secrets

CONTEXT_EXCEEDED = "This model's maximum context length is"
"""How the message of a prompt that does not fit begins, on every edge: clients of OpenAI's API look for these words."""
_LONGEST = 2000
"""Characters of the longest message to a caller: a message may quote what was sent."""
_SHOWN_ID = 200
_log = logging.getLogger(__name__)


class QwenTritonError(Exception):
    """Base of all errors raised on purpose."""


class InvalidRequest(QwenTritonError):
    """A request that can never succeed as it is. `field` is the parameter at fault, as the caller spells it."""

    def __init__(self, message: str, field: str = "") -> None:
        text = f"{field}: {message}" if field else message
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
        self.field = field

    def in_row(self, row: int) -> InvalidRequest:
        """The same error of a request with several prompts, with the number of the prompt at fault."""
        numbered = InvalidRequest(f"{self} (row {row})")
        numbered.field = self.field
        return numbered


class Unavailable(QwenTritonError):
    """A request that cannot be taken at the moment; the same request may succeed later."""


class Cancelled(QwenTritonError):
    """The caller has left or taken the request back."""

    def __init__(self, message: str = "the request was cancelled") -> None:
        super().__init__(message)


class EngineError(QwenTritonError):
    """The engine failed on a request that was right."""


class ConfigurationError(QwenTritonError):
    """The deployment or the machine is not as it must be; the message names what and the remedy."""


def caller_text(error: Exception, request_id: str) -> str:
    """The error's message as a model's caller sees it. One that is ours is logged, and shown as a request id only.

    Half of a surrogate pair, which a caller's JSON may hold and a message quote, is «?»: no wire has it.
    """
    if isinstance(error, (InvalidRequest, Unavailable, Cancelled)):
        return str(error).encode("utf-8", "replace").decode()
    name = request_id[:_SHOWN_ID] or secrets.token_hex(8)
    _log.error("request %s failed: %s", name, error, exc_info=error)
    return f"internal error; the server's log has the cause under request {name}"
