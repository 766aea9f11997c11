"""The connections to text models on this machine: found by asking the server, once and when one is missing.

A server on another machine says addresses that nobody listens at here; requests go through it then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable

from qwen_triton.errors import ConfigurationError, QwenTritonError, Unavailable

from .local_socket import LocalSocket

_AGAIN_S = 1.0
_ELSEWHERE_S = 60.0
"""Between two questions to a server whose addresses are of no use here, or to a model that does not know the question."""
_ASK_S = 10.0
"""How long the server may take to answer."""
_log = logging.getLogger(__name__)


class LocalSockets:
    """`ask(model)`: the addresses of a model's processes. Raises a QwenTritonError."""

    def __init__(self, ask: Callable[[str], Awaitable[list[str]]]) -> None:
        self._ask = ask
        self._models: dict[str, _Model] = {}

    def best(self, model: str) -> LocalSocket | None:
        """The connection with the fewest requests; None where there is none (yet), and the server is to be asked."""
        known = self._models.setdefault(model, _Model())
        sockets = known.usable()
        if not sockets or len(sockets) < sockets[0].processes:
            self._look_soon(model, known)
        return min(sockets, key=len, default=None)

    def close(self) -> None:
        """Breaks off all requests."""
        for known in self._models.values():
            if known.looking is not None:
                known.looking.cancel()
            for connection in known.sockets.values():
                connection.close()

    def _look_soon(self, model: str, known: _Model) -> None:
        now = asyncio.get_running_loop().time()
        if now >= known.look_at and (known.looking is None or known.looking.done()):
            known.look_at = now + _AGAIN_S
            known.looking = asyncio.create_task(self._look(model, known))

    async def _look(self, model: str, known: _Model) -> None:
        try:
            addresses = await asyncio.wait_for(self._ask(model), _ASK_S)
        except (Unavailable, asyncio.TimeoutError):
            return
        except QwenTritonError as error:
            _log.debug("%s does not know the question: %s", model, error)
            addresses = []
        random.shuffle(addresses)  # not every worker should prefer the same process
        before = len(known.usable())
        here = [await known.connect(address) for address in addresses]
        if not known.usable() and not any(here):
            known.look_at = asyncio.get_running_loop().time() + _ELSEWHERE_S
        if len(known.usable()) > before:
            _log.info("%s: %d of its processes answer over sockets of this machine", model, len(known.usable()))


class _Model:
    """What is known of one model's processes, by their addresses."""

    def __init__(self) -> None:
        self.sockets: dict[str, LocalSocket] = {}
        self.look_at = 0.0
        self.looking: asyncio.Task[None] | None = None

    def usable(self) -> list[LocalSocket]:
        if not all(connection.usable for connection in self.sockets.values()):
            self.sockets = {address: one for address, one in self.sockets.items() if one.usable}
        return list(self.sockets.values())

    async def connect(self, address: str) -> bool:
        """Connects, unless it is connected. False where no later attempt can succeed: on another machine, as another user."""
        if address not in self.sockets:
            try:
                self.sockets[address] = await LocalSocket.connect(address)
            except (Unavailable, ConfigurationError) as error:
                _log.debug("%s", error)
                return isinstance(error, Unavailable) and os.path.exists(address)
        return True
