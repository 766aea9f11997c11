"""A gRPC server of the test's process with one service, and a client of it: on one event loop, for one test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import grpc
from tritonclient.grpc import service_pb2_grpc

BOUND_S = 20.0


class Closable(Protocol):
    """What is connected until it is closed."""

    async def close(self) -> None: ...


Connected = TypeVar("Connected", bound=Closable)


def against(
    service: service_pb2_grpc.GRPCInferenceServiceServicer,
    connect: Callable[[str], Connected],
    use: Callable[[Connected], Awaitable[None]],
) -> None:
    """Runs `use`, for 20 s at most, with what `connect` makes of the service's address."""

    async def run() -> None:
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        connected = connect(f"127.0.0.1:{port}")
        try:
            await asyncio.wait_for(use(connected), BOUND_S)
        finally:
            await connected.close()
            await server.stop(None)

    asyncio.run(run())
