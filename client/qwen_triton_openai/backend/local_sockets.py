"""The connections to text models on this machine. The server is asked for their addresses at the first request, and again
while one of the model's processes has no connection.

A server on another machine gives addresses at which nobody listens here: its requests go over gRPC.
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
"""Between two questions to a server."""
_ELSEWHERE_S = 60.0
"""Between two questions to a server that has no addresses, or none that are of use here."""
_ASK_S = 10.0
"""How long the server may take to answer."""
_log = logging.getLogger(__name__)


class LocalSockets:
    """`ask(model)`: the addresses of a model's processes. Raises a QwenTritonError. What it finds is logged when it changes."""

    def __init__(self, ask: Callable[[str], Awaitable[list[str]]]) -> None:
        self._ask = ask
        self._models: dict[str, _Model] = {}

    def best(self, model: str) -> LocalSocket | None:
        """The connection with the fewest requests, None without one. While a process of the model has none, the server is
        asked again."""
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
        fault, addresses = "the server gives no sockets of it", list[str]()
        try:
            addresses = await asyncio.wait_for(self._ask(model), _ASK_S)
        except (Unavailable, asyncio.TimeoutError) as error:
            known.tell(model, str(error) or "the model server does not answer")
            return
        except QwenTritonError as error:  # a model that does not know the question
            fault = str(error)
        random.shuffle(addresses)  # not every worker should prefer the same process
        faults = list(filter(None, [await known.connect(address) for address in addresses]))
        if not known.usable() and all(isinstance(each, ConfigurationError) for each in faults):
            known.look_at = asyncio.get_running_loop().time() + _ELSEWHERE_S
        known.tell(model, str(faults[-1]) if faults else fault)


class _Model:
    """What is known of one model's processes, by their addresses."""

    def __init__(self) -> None:
        self.sockets: dict[str, LocalSocket] = {}
        self.look_at = 0.0
        self.looking: asyncio.Task[None] | None = None
        self._told = ""

    def usable(self) -> list[LocalSocket]:
        if not all(connection.usable for connection in self.sockets.values()):
            self.sockets = {address: one for address, one in self.sockets.items() if one.usable}
            self._told = ""
        return list(self.sockets.values())

    async def connect(self, address: str) -> QwenTritonError | None:
        """Connects, unless it is connected. Returns why not: ConfigurationError where no later attempt can succeed."""
        try:
            if address not in self.sockets:
                self.sockets[address] = await LocalSocket.connect(address)
        except Unavailable as error:
            return error if os.path.exists(address) else ConfigurationError(str(error))
        except ConfigurationError as error:
            return error
        return None

    def tell(self, model: str, fault: str) -> None:
        """Logs how requests go to `model`, unless the last line said the same. `fault`: why no process is connected."""
        if sockets := list(self.sockets.values()):
            count = min(
                len(sockets), sockets[0].processes
            )  # while the model is loaded again, former ones are there too
            way = f"straight to {count} of its {sockets[0].processes} processes, over Unix sockets"
        else:
            way = f"over gRPC: {fault}"
        if way != self._told:
            _log.info("requests to %s go %s", model, way)
        self._told = way
