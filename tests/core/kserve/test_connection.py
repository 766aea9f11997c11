"""gRPC's calls over one connection, against h2 as the server: no network, every cut of the bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.errors import Unavailable
from qwen_triton.kserve.connection import GrpcConnection
from qwen_triton.kserve.events import Ended, Event, Message
from qwen_triton.kserve.status import StatusCode
from tests.support.http2_peer import HEADERS, Peer

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
MIB = 1 << 20


def opened(calls: int = 1, most: int = 100) -> tuple[GrpcConnection, Peer]:
    """A client with so many calls open (1, 3, 5 …), and its peer, which knows of them."""
    client, peer = GrpcConnection("host:8001"), Peer(most)
    peer.exchange(client)
    for n in range(calls):
        assert client.open(PATH) == 2 * n + 1
    peer.exchange(client)
    return client, peer


def framed(*messages: bytes) -> bytes:
    return b"".join(b"\0" + len(m).to_bytes(4, "big") + m for m in messages)


def test_a_call_says_what_it_asks_and_of_whom() -> None:
    client, peer = opened(0)
    call = client.open(PATH, [("authorization", "Bearer x")])
    client.send(call, b"one")
    client.send(call, b"")
    client.half_close(call)
    client.half_close(call)
    peer.exchange(client)
    assert peer.requests[call] == {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "host:8001",
        ":path": PATH,
        "te": "trailers",
        "content-type": "application/grpc",
        "authorization": "Bearer x",
    }
    assert peer.received[call] == framed(b"one", b"")
    assert peer.half_closed == {call}


def play(peer: Peer) -> list[Event]:
    """Answers of three calls in turns, padded or several in a frame; what a client must make of them."""
    peer.answer(1, b"a1", b"")
    peer.answer(5, b"c" * 300)
    peer.http2.send_data(1, framed(b"a2", b"a3")[:-1], pad_length=7)
    peer.http2.ping(b"12345678")
    peer.http2.send_headers(3, [*HEADERS, ("grpc-status", "5"), ("grpc-message", "%E4%BD%A0 100%25")], end_stream=True)
    peer.http2.send_data(1, b"3", pad_length=0)
    peer.end(1)
    peer.say(5, b"c2")
    return [
        *(Message(1, m) for m in (b"a1", b"", b"a2", b"a3")),
        Ended(1, StatusCode.OK, ""),
        Ended(3, StatusCode.NOT_FOUND, "你 100%"),
        *(Message(5, m) for m in (b"c" * 300, b"c2")),
    ]


def recorded() -> tuple[list[Event], bytes]:
    """What the peer of three calls writes, and what it means."""
    _, peer = opened(3)
    expected = play(peer)
    return expected, peer.bytes_to_send()


def heard(pieces: Sequence[bytes]) -> list[Event]:
    """What a client with three calls makes of these bytes, by call."""
    client, _ = opened(3)
    events = [event for piece in pieces for event in client.receive(piece)]
    assert client.open_calls == 1
    return sorted(events, key=lambda event: event.stream_id)


def test_every_cut_of_the_bytes_gives_the_same() -> None:
    expected, data = recorded()
    assert heard([data]) == expected
    assert heard([data[i : i + 1] for i in range(len(data))]) == expected
    for cut in range(1, len(data)):
        assert heard([data[:cut], data[cut:]]) == expected


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_cuts_give_the_same(draw: st.DataObject) -> None:
    expected, data = recorded()
    cuts = sorted(draw.draw(st.sets(st.integers(1, len(data) - 1), max_size=30)))
    assert heard([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60_000)), max_size=25))
def test_messages_of_any_size_keep_their_call_and_order(said: list[tuple[int, int]]) -> None:
    client, peer = opened(5)
    for n in range(5):
        peer.answer(2 * n + 1)
    events = []
    for number, (n, size) in enumerate(said):
        peer.say(2 * n + 1, bytes([number]) * size)
        events += peer.exchange(client)
    assert events == [Message(2 * n + 1, bytes([number]) * size) for number, (n, size) in enumerate(said)]


def only_headers(peer: Peer) -> None:
    peer.http2.send_headers(1, [(":status", "503"), ("content-type", "text/html")], end_stream=True)


def no_status(peer: Peer) -> None:
    peer.answer(1)
    peer.http2.send_headers(1, [("x", "y")], end_stream=True)


def unknown_status(peer: Peer) -> None:
    peer.http2.send_headers(1, [*HEADERS, ("grpc-status", "99")], end_stream=True)


def no_trailers(peer: Peer) -> None:
    peer.answer(1)
    peer.http2.send_data(1, b"", end_stream=True)


def compressed(peer: Peer) -> None:
    peer.answer(1)
    peer.http2.send_data(1, b"\1\0\0\0\1x")


@pytest.mark.parametrize(
    ("act", "code", "message"),
    [
        (only_headers, StatusCode.UNAVAILABLE, "the call ended with HTTP status 503"),
        (no_status, StatusCode.UNKNOWN, "the call ended without a gRPC status"),
        (unknown_status, StatusCode.UNKNOWN, ""),
        (no_trailers, StatusCode.INTERNAL, "the call ended without a gRPC status"),
        (compressed, StatusCode.INTERNAL, "a compressed message came, which was not offered"),
        (lambda peer: peer.http2.reset_stream(1, 7), StatusCode.UNAVAILABLE, "the call was reset with REFUSED_STREAM"),
        (lambda peer: peer.http2.reset_stream(1, 77), StatusCode.INTERNAL, "the call was reset with error 77"),
    ],
)
def test_an_end_that_is_none_of_grpcs(act: Callable[[Peer], None], code: StatusCode, message: str) -> None:
    """It ends that call alone, and the connection goes on."""
    client, peer = opened(2)
    act(peer)
    assert peer.exchange(client) == [Ended(1, code, message)]
    peer.answer(3, b"x")
    assert peer.exchange(client) == [Message(3, b"x")]


def test_a_server_that_ends_first_is_told_that_nothing_follows() -> None:
    """Also where its own reset comes with the end, as gRPC's servers send it."""
    client, peer = opened(2)
    for call in (1, 3):
        peer.answer(call)
        peer.end(call)
    peer.http2.reset_stream(3, 0)
    assert [event.stream_id for event in peer.exchange(client)] == [1, 3]
    assert peer.resets == {1: 0}
    for call in (1, 3):
        client.send(call, b"too late")
        client.half_close(call)
        client.reset(call)
    assert client.data_to_send() == b""


def test_a_message_larger_than_the_windows_waits_for_room_and_holds_nobody_up() -> None:
    client, peer = opened(2)
    large = bytes(range(256)) * 4096
    client.send(1, large)
    client.half_close(1)
    first = client.data_to_send()
    assert len(first) < 70_000
    peer.take(first)
    peer.exchange(client)
    assert peer.received[1] == framed(large)
    assert peer.half_closed == {1}


def test_a_call_whose_window_is_empty_lets_others_pass() -> None:
    client, peer = opened(2)
    peer.http2.increment_flow_control_window(MIB)
    peer.exchange(client)
    client.send(1, bytes(MIB))
    client.send(3, b"small")
    peer.take(client.data_to_send())
    assert peer.received[3] == framed(b"small")
    assert len(peer.received[1]) < MIB


def test_windows_are_filled_up_by_what_was_taken_and_no_more() -> None:
    """h2 as the server raises for a window above the largest; the padding counts, the frames' heads do not."""
    client, peer = opened(2)
    peer.answer(1)
    peer.answer(3)
    full = peer.http2.local_flow_control_window(1)
    for _ in range(24):
        peer.say(1, bytes(MIB // 2))
        peer.http2.send_data(3, framed(b"x"), pad_length=200)
        peer.exchange(client)
    assert full - 4 * MIB <= peer.http2.local_flow_control_window(1) <= full


def test_data_of_a_call_that_was_reset_is_counted_all_the_same() -> None:
    client, peer = opened(2)
    peer.answer(1)
    peer.answer(3)
    client.reset(1)
    data = b""
    for _ in range(20):
        peer.say(1, bytes(MIB // 2))
        data += peer.bytes_to_send()
    assert client.receive(data) == []
    peer.take(client.data_to_send())
    assert peer.http2.local_flow_control_window(3) > (1 << 31) - 4 * MIB


def test_a_call_that_is_reset_is_cancelled_and_says_no_more() -> None:
    client, peer = opened(2)
    peer.answer(1, b"x")
    peer.end(1)
    client.send(1, bytes(MIB))
    client.reset(1)
    assert peer.exchange(client) == []
    assert client.open_calls == 1


def test_the_server_sees_the_cancel() -> None:
    client, peer = opened(2)
    client.reset(1)
    client.reset(1)
    peer.exchange(client)
    assert peer.resets == {1: 8}


def test_more_calls_than_the_server_takes_are_unavailable() -> None:
    client, peer = opened(2, most=2)
    with pytest.raises(Unavailable, match="the server takes 2 calls at once"):
        client.open(PATH)
    peer.answer(1)
    peer.end(1)
    peer.exchange(client)
    assert client.open(PATH)


def test_after_a_goodbye_the_calls_it_names_go_on_and_no_others() -> None:
    client, peer = opened(2)
    client.open(PATH)
    peer.answer(1)
    peer.answer(3)
    client.receive(peer.bytes_to_send())
    peer.http2.close_connection(0, b"max_age", last_stream_id=3)
    farewell = "the server closes the connection: max_age"
    assert client.receive(peer.bytes_to_send()) == [Ended(5, StatusCode.UNAVAILABLE, farewell)]
    assert not client.usable
    with pytest.raises(Unavailable, match="max_age"):
        client.open(PATH)
    data_frame = b"\0\0\6\0\0\0\0\0\1" + framed(b"x")
    assert client.receive(data_frame) == [Message(1, b"x")]
    assert client.lost("gone") == [Ended(n, StatusCode.UNAVAILABLE, "gone") for n in (1, 3)]


def test_a_lost_connection_ends_every_call_once() -> None:
    client, _ = opened(2)
    assert client.lost("reset by peer") == [Ended(n, StatusCode.UNAVAILABLE, "reset by peer") for n in (1, 3)]
    assert client.lost("again") == []
    assert (client.open_calls, client.usable) == (0, False)


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\4\x08\0\0\0\0\1\0\0\0\0"])
def test_what_is_no_http2_ends_the_connection(data: bytes) -> None:
    """As of a server that speaks HTTP/1, or none."""
    client, _ = opened(1)
    events = client.receive(data)
    assert [(e.stream_id, e.code) for e in events if isinstance(e, Ended)] == [(1, StatusCode.UNAVAILABLE)]
    assert not client.usable
    assert client.receive(data) == []


def test_calls_that_have_ended_are_forgotten() -> None:
    """A server's callers make millions of them on a connection; h2 itself remembers the latest 65,536."""
    client, _ = opened(0)
    for _ in range(5000):
        client.reset(client.open(PATH))
        client.data_to_send()
    assert client.open_calls == 0
    assert len(client._http2._closed_streams) == 4096


def test_a_crowd_that_leaves_at_once_breaks_no_connection() -> None:
    """The server answers a thousand calls before it hears that all of them were broken off."""
    client, peer = opened(1000, most=2000)
    for call in range(1, 2000, 2):
        client.reset(call)
        peer.answer(call, b"late")
    later = client.open(PATH)
    client.half_close(later)
    assert client.receive(peer.bytes_to_send()) == []
    peer.exchange(client)
    peer.answer(later, b"on time")
    assert peer.exchange(client) == [Message(later, b"on time")]


def test_a_call_is_opened_for_each_that_has_ended() -> None:
    """Where the server takes as many as there are; calls that have ended are dropped, though not counted each time."""
    client, peer = opened(100, most=100)
    for call in range(1, 2001, 2):
        with pytest.raises(Unavailable):
            client.open(PATH)
        client.half_close(call)
        peer.exchange(client)
        peer.answer(call, b"done")
        peer.end(call)
        assert Ended(call, StatusCode.OK, "") in peer.exchange(client)
        assert client.open(PATH) == call + 200
        peer.exchange(client)
    assert client.open_calls == 100
    assert len(client._http2.streams) <= 2 * 100 + 64


def test_calls_under_way_are_not_looked_at_for_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a crowd of requests costs the square of its size."""
    counts = []
    count = H2Connection._open_streams
    monkeypatch.setattr(H2Connection, "_open_streams", lambda self, odd: counts.append(1) or count(self, odd))
    client, _ = opened(0, most=2000)
    counts.clear()
    for _ in range(1000):
        client.open(PATH)
    assert 0 < len(counts) < 20
