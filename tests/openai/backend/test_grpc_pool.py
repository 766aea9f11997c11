"""The shim's streams over one connection, against a server that breaks off, restarts, splits, says goodbye or is full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop
from h2.errors import ErrorCodes
from tritonclient.grpc import service_pb2

from qwen_triton.errors import Cancelled, ConfigurationError, EngineError, InvalidRequest, Unavailable
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton_openai.backend.generation import ModelGeneration
from qwen_triton_openai.backend.grpc_pool import GrpcPool, host_port
from tests.support.generations import take_back, text_of
from tests.support.http2_peer import Peer

BOUND_S = 20.0
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
MIB = 1 << 20


def piece(text: str) -> bytes:
    """A streamed response of the text model."""
    data = text.encode()
    response = service_pb2.ModelInferResponse(raw_output_contents=[len(data).to_bytes(4, "little") + data])
    response.outputs.add().name = "text_output"
    return bytes(service_pb2.ModelStreamInferResponse(infer_response=response).SerializeToString())


def fault(text: str) -> bytes:
    return bytes(service_pb2.ModelStreamInferResponse(error_message=text).SerializeToString())


class Connection(asyncio.Protocol):
    """One client's, on the server's side. `asked` is called with each request that is complete."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.peer = Peer(server.most)
        self.transport: Any = None
        self._answered: set[int] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.peer.take(data)
        for call in sorted(self.peer.half_closed - self._answered):
            self._answered.add(call)
            self.server.sent(self, call)
        self.flush()

    def flush(self) -> None:
        data, size = self.peer.bytes_to_send(), self.server.split or MIB
        for at in range(0, len(data), size):
            self.transport.write(data[at : at + size])

    def say(self, call: int, *messages: bytes, code: int = 0, text: str = "") -> None:
        """A whole answer."""
        self.peer.answer(call, *messages)
        self.peer.end(call, code, text)


class Server:
    """Answers as `asked` says; `split`: the bytes of a write; `most`: calls at once on a connection."""

    def __init__(self, sent: Callable[[Connection, int], None], split: int = 0, most: int = 1000) -> None:
        self.sent, self.split, self.most = sent, split, most
        self.connections: list[Connection] = []
        self.port = 0
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        def accept() -> Connection:
            self.connections.append(Connection(self))
            return self.connections[-1]

        self._listening = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """As a process that is killed: nobody listens, all is broken off."""
        assert self._listening is not None
        self._listening.close()
        for connection in self.connections:
            connection.transport.abort()


async def begin(pool: GrpcPool, request: bytes = b"x", cancellation: Callable[[], bytes] = bytes) -> ModelGeneration:
    generation = ModelGeneration()
    await generation.begin(pool, request, (("traceparent", "t"),), cancellation)
    return generation


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Server, Callable[[GrpcPool], Awaitable[None]]], None]:
    """Runs `use` with a pool for the server, on each kind of event loop."""

    def run(server: Server, use: Callable[[GrpcPool], Awaitable[None]]) -> None:
        async def main() -> None:
            await server.start()
            pool = GrpcPool(f"127.0.0.1:{server.port}")
            try:
                await asyncio.wait_for(use(pool), BOUND_S)
            finally:
                pool.close()
                server.stop()

        loop = LOOPS[cast(str, request.param)]()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    return run


Run = Callable[[Server, Callable[[GrpcPool], Awaitable[None]]], None]


def greet(connection: Connection, call: int) -> None:
    connection.say(call, piece("hel"), piece("lo"))


def silent(connection: Connection, call: int) -> None:
    connection.peer.answer(call, piece("hel"))


@pytest.mark.parametrize("split", [0, 1, 7])
def test_pieces_come_whole_however_the_bytes_are_split(run: Run, split: int) -> None:
    """In order, to the end; nothing after it."""

    async def use(pool: GrpcPool) -> None:
        generation = await begin(pool)
        assert await text_of(generation) == "hello"
        assert await generation.read() == []

    run(Server(greet, split), use)


def test_what_has_piled_up_is_read_at_once(run: Run) -> None:
    """Pieces of one read of the socket do not wake the reader one by one."""

    async def use(pool: GrpcPool) -> None:
        assert await (await begin(pool)).read() == [TextPiece("hello", merged=2)]

    run(Server(greet), use)


def test_five_hundred_requests_share_a_connection(run: Run) -> None:
    """Each gets its own answer, whole, while all are answered in turns."""
    waiting: list[tuple[Connection, int]] = []

    def sent(connection: Connection, call: int) -> None:
        waiting.append((connection, call))
        connection.peer.answer(call)
        if len(waiting) == 500:
            for turn in range(4):
                for _, each in waiting:
                    connection.peer.say(each, piece(f"{bytes(connection.peer.received[each])[5:].decode()}.{turn} "))
            for _, each in waiting:
                connection.peer.end(each)

    async def use(pool: GrpcPool) -> None:
        generations = [await begin(pool, str(n).encode()) for n in range(500)]
        answers = await asyncio.gather(*map(text_of, generations))
        assert answers == ["".join(f"{n}.{t} " for t in range(4)) for n in range(500)]

    server = Server(sent, split=1000)
    run(server, use)
    assert len(server.connections) == 1
    assert server.connections[0].peer.requests[1]["traceparent"] == "t"


def test_requests_that_come_before_there_is_a_connection_make_one(run: Run) -> None:
    """Not one each."""
    server = Server(greet)

    async def use(pool: GrpcPool) -> None:
        generations = await asyncio.gather(*[begin(pool) for _ in range(50)])
        assert await asyncio.gather(*map(text_of, generations)) == ["hello"] * 50

    run(server, use)
    assert len(server.connections) == 1


def test_huge_messages(run: Run) -> None:
    """Beyond every window, both ways."""

    def sent(connection: Connection, call: int) -> None:
        assert len(connection.peer.received[call]) == 3 * MIB + 5
        connection.say(call, piece("好" * (2 * MIB)))

    async def use(pool: GrpcPool) -> None:
        assert await text_of(await begin(pool, b"x" * (3 * MIB))) == "好" * (2 * MIB)

    run(Server(sent), use)


def test_a_connection_that_is_lost_ends_what_is_under_way(run: Run) -> None:
    """After the pieces that came; the next request connects anew."""

    async def use(pool: GrpcPool) -> None:
        generations = [await begin(pool) for _ in range(3)]
        assert await generations[0].read() == [TextPiece("hel")]
        server.connections[0].transport.abort()
        for generation in generations:
            with pytest.raises(Unavailable, match="lost"):
                await text_of(generation)
        again = await begin(pool)
        assert await again.read() == [TextPiece("hel")]
        assert len(server.connections) == 2

    server = Server(silent)
    run(server, use)


def test_a_server_that_comes_back_is_used_again(run: Run) -> None:
    """While it is away each request is told so."""

    async def use(pool: GrpcPool) -> None:
        assert await text_of(await begin(pool)) == "hello"
        server.stop()
        await asyncio.sleep(0.05)
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                await begin(pool)
        await server.start()
        assert await text_of(await begin(pool)) == "hello"

    server = Server(greet)
    run(server, use)


def test_taking_back_resets_that_call_alone(run: Run) -> None:
    """The reader is told at once, waiting or not; the others go on."""

    async def use(pool: GrpcPool) -> None:
        first, second = await begin(pool), await begin(pool)
        assert await first.read() == [TextPiece("hel")]
        await take_back(first)
        connection = server.connections[0]
        while not connection.peer.resets:
            await asyncio.sleep(0.005)
        assert connection.peer.resets == {1: ErrorCodes.CANCEL}
        connection.peer.say(3, piece("lo"))
        connection.peer.end(3)
        connection.flush()
        assert await text_of(second) == "hello"
        second.cancel()

    server = Server(silent)
    run(server, use)
    assert set(server.connections[0].peer.resets) == {1}


def test_a_call_is_taken_back_by_a_request_of_its_own(run: Run) -> None:
    """A server that ends the call then is told nothing more: breaking it off there would cost it the request's memory."""
    sent: list[int] = []

    def ends_the_first(connection: Connection, call: int) -> None:
        sent.append(call)
        if call == 1:
            silent(connection, call)
        else:
            connection.say(1, piece("lo"))
            connection.say(call, fault("the request was cancelled"))

    async def use(pool: GrpcPool) -> None:
        generation = await begin(pool, cancellation=lambda: b"the end")
        assert await generation.read() == [TextPiece("hel")]
        generation.cancel()
        with pytest.raises(Cancelled):
            await generation.read()
        generation.cancel()
        await asyncio.sleep(1.2)
        assert sent == [1, 3]
        assert server.connections[0].peer.resets == {}

    server = Server(ends_the_first)
    run(server, use)


def test_a_server_that_does_not_end_the_call_has_it_broken_off(run: Run) -> None:
    """A second later."""

    async def use(pool: GrpcPool) -> None:
        generation = await begin(pool, cancellation=lambda: b"the end")
        generation.cancel()
        while 1 not in server.connections[0].peer.resets:
            await asyncio.sleep(0.005)

    server = Server(silent)
    run(server, use)


def test_a_goodbye_lets_what_is_under_way_end(run: Run) -> None:
    """New requests go elsewhere; the old connection is closed behind its last answer."""

    async def use(pool: GrpcPool) -> None:
        generation = await begin(pool)
        assert await generation.read() == [TextPiece("hel")]
        old = server.connections[0]
        old.peer.http2.close_connection(0, last_stream_id=1)
        old.flush()
        await asyncio.sleep(0.02)
        assert await (await begin(pool)).read() == [TextPiece("hel")]
        assert len(server.connections) == 2
        generation.cancel()
        while not old.transport.is_closing():
            await asyncio.sleep(0.005)

    server = Server(silent)
    run(server, use)


def test_a_full_connection_gets_another_beside_it(run: Run) -> None:
    """Servers behind a proxy take a hundred calls on one, often."""

    async def use(pool: GrpcPool) -> None:
        generations = [await begin(pool) for _ in range(5)]
        assert [await g.read() for g in generations] == [[TextPiece("hel")]] * 5
        assert [len(c.peer.requests) for c in server.connections] == [2, 2, 1]

    server = Server(silent, most=2)
    run(server, use)


def test_a_reader_that_does_not_read_holds_up_nobody(run: Run) -> None:
    """What it has not taken is kept for it, all of it, as one piece."""

    def sent(connection: Connection, call: int) -> None:
        connection.say(call, *[piece(f"{n} ") for n in range(2000)])

    async def use(pool: GrpcPool) -> None:
        slow, quick = await begin(pool), await begin(pool)
        whole = "".join(f"{n} " for n in range(2000))
        assert await text_of(quick) == whole
        (piled,) = await slow.read()
        assert (piled.text, piled.merged) == (whole, 2000)

    run(Server(sent), use)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (3, "n: must be small", InvalidRequest),
        (8, "try again", Unavailable),
        (14, "away", Unavailable),
        (1, "gone", Cancelled),
        (13, "it broke", EngineError),
    ],
)
def test_a_status_comes_after_the_pieces(run: Run, code: int, text: str, expected: type[Exception]) -> None:
    """As the error that was raised behind it, each time it is asked for."""

    async def use(pool: GrpcPool) -> None:
        generation = await begin(pool)
        assert await generation.read() == [TextPiece("hel")]
        for _ in range(2):
            with pytest.raises(expected, match=text):
                await generation.read()

    run(Server(lambda connection, call: connection.say(call, piece("hel"), code=code, text=text)), use)


def test_an_error_in_the_stream_comes_after_the_pieces(run: Run) -> None:
    """And ends it: the call is given up, whatever the server goes on to say."""

    def sent(connection: Connection, call: int) -> None:
        connection.peer.answer(call, piece("hel"), fault("n: must be small"), piece("lo"))

    async def use(pool: GrpcPool) -> None:
        generation = await begin(pool)
        assert await generation.read() == [TextPiece("hel")]
        with pytest.raises(InvalidRequest, match="n: must be small"):
            await generation.read()
        generation.cancel()
        while not server.connections[0].peer.resets:
            await asyncio.sleep(0.005)

    server = Server(sent)
    run(server, use)


def test_a_task_that_is_cancelled_while_it_connects_leaves_nothing_behind(run: Run) -> None:
    """The next one connects."""

    async def use(pool: GrpcPool) -> None:
        beginning = asyncio.ensure_future(begin(pool))
        await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        assert await text_of(await begin(pool)) == "hello"

    run(Server(greet), use)


def test_what_is_no_grpc_server_does_not_answer(run: Run) -> None:
    """One that hangs up at once."""

    class Deaf(Server):
        async def start(self) -> None:
            listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
            self._listening, self.port = listening, listening.sockets[0].getsockname()[1]

    async def use(pool: GrpcPool) -> None:
        with pytest.raises(Unavailable, match="does not answer"):
            await begin(pool)

    run(Deaf(greet), use)


def test_addresses() -> None:
    assert host_port("gpu-7:8001") == ("gpu-7", 8001)
    assert host_port("[::1]:8001") == ("::1", 8001)
    for wrong in ("gpu-7", "http://gpu-7:8001", ":8001", "gpu-7:grpc"):
        with pytest.raises(ConfigurationError, match="triton_url: expected HOST:PORT"):
            host_port(wrong)
