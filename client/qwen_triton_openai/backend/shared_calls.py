"""Calls that requests share: each opens none of its own, which costs the shim and the server more than a short answer.

The responses of a call are told apart by the ids of their requests. A call ends with its last request, so that a server
that shuts down waits for no more than it would for calls of their own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from qwen_triton.kserve.messages import STREAM_INFER, InferResponse, decode_stream_response
from qwen_triton.kserve.status import StatusCode

from .grpc_pool import GrpcPool
from .grpc_socket import GrpcSocket

MOST_CALLS = 8
"""Calls at once. The server writes one response of a call at a time; 1, 8 and 16 calls for 500 requests cost the same."""
MOST_BYTES = 64 << 10
"""Of a request on a shared call, about its window at the start: a larger one would hold up those behind it."""
CANCELLATION_ID = "cancels another"
"""The id of a request that cancels another: its response says nothing. No client's request has it, because of its blank."""
_LEAVING_S = 1.0
"""How long a request that was given up keeps its call open."""
_ENDED = "the model server ended the call; try again"
_log = logging.getLogger(__name__)


class ResponseListener(Protocol):
    """Receives the responses to one request. Its methods must not raise, nor wait."""

    def on_response(self, response: InferResponse) -> None:
        """A response; nothing comes behind one that is `final` or has an error."""

    def on_end(self, code: StatusCode, text: str) -> None:
        """The call has ended before the request; nothing more comes."""


class SharedCall:
    """One call and the requests on it. A `StreamListener`. Made by `SharedCalls`. Raises Unavailable."""

    def __init__(self, socket: GrpcSocket) -> None:
        self._socket = socket
        self._running: dict[str, ResponseListener | None] = {}
        """By id; None where nobody listens any more."""
        self._over = False
        self._stream_id = socket.begin(STREAM_INFER, self)

    @property
    def usable(self) -> bool:
        """Whether requests can be sent."""
        return not self._over and self._socket.usable

    def __len__(self) -> int:
        """The requests under way."""
        return len(self._running)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._running

    def send(self, request_id: str, message: bytes, listener: ResponseListener) -> None:
        """Sends a request, whose id is that of no other on the call."""
        self._running[request_id] = listener
        self._socket.send(self._stream_id, message)

    def leave(self, request_id: str, cancellation: bytes) -> None:
        """Gives a request up: its listener gets nothing more. The server is asked to end it by the request `cancellation`.

        A call that is shared cannot be broken off for one of its requests.
        """
        if self._running.get(request_id) is None:
            return
        self._running[request_id] = None
        self._socket.send(self._stream_id, cancellation)
        asyncio.get_running_loop().call_later(_LEAVING_S, self._end, request_id)

    def on_message(self, message: bytes) -> None:
        response = decode_stream_response(message)
        request_id = response.request_id
        listener = self._running.get(request_id)
        if response.error and request_id != CANCELLATION_ID and request_id not in self._running:
            _log.warning("the model server sent an error for an unknown request: %s", response.error)
        if response.final or response.error:
            self._end(request_id)
        if listener is not None:
            listener.on_response(response)

    def on_end(self, code: StatusCode, text: str) -> None:
        self._over = True
        running, self._running = self._running, {}
        if code == StatusCode.OK:
            code, text = StatusCode.UNAVAILABLE, _ENDED
        for listener in running.values():
            if listener is not None:
                listener.on_end(code, text)

    def _end(self, request_id: str) -> None:
        if self._running.pop(request_id, self) is not self and not self._running:
            self._over = True
            self._socket.half_close(self._stream_id)


class SharedCalls:
    """The calls over the connections of a pool."""

    def __init__(self, pool: GrpcPool) -> None:
        self._pool = pool
        self._calls: list[SharedCall] = []

    async def send(self, request_id: str, message: bytes, listener: ResponseListener) -> SharedCall:
        """Sends a request on the call with the fewest, and returns it. Raises Unavailable."""
        call = self._find(request_id)
        if call is None:
            call = await self._pool.use(lambda socket: self._open(request_id, socket))
        call.send(request_id, message, listener)
        return call

    def _find(self, request_id: str) -> SharedCall | None:
        """None where a call more is to be opened."""
        self._calls = [call for call in self._calls if call.usable]
        if len(self._calls) < MOST_CALLS:
            return None
        best = min(self._calls, key=len)
        return None if request_id in best else best

    def _open(self, request_id: str, socket: GrpcSocket) -> SharedCall:
        """Unless others did while this one waited for the connection."""
        if (call := self._find(request_id)) is None:
            call = SharedCall(socket)
            self._calls.append(call)
        return call
