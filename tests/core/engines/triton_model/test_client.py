"""The client of an engine that is a Triton model, against a server of h2 on a socket: no Triton."""

from __future__ import annotations

import itertools
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from qwen_triton.engines.process.messages import encode_chunk
from qwen_triton.engines.triton_model.client import ModelClient
from qwen_triton.engines.triton_model.facts import EngineModelFacts
from qwen_triton.engines.triton_model.server_address import GrpcAddress
from qwen_triton.errors import InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.kserve.messages import INFER, STREAM_INFER
from qwen_triton.tensors.contract import ENGINE_INPUTS, PERF_METRICS
from qwen_triton.types import EngineRequest, LoraTask, SamplingParams, TokenChunk
from tests.support.http2_peer import HEADERS, Peer
from tests.support.live.waiting import becomes

WAIT_S = 10.0


class Model:
    """A server with an engine model: what was asked of it, and answers as a test says. One connection after another."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sent: list[tuple[int, Any]] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.peer = Peer()
        self.socket = socket.socket()
        threading.Thread(target=self.run, daemon=True).start()

    @property
    def address(self) -> GrpcAddress:
        return GrpcAddress("127.0.0.1", self.listener.getsockname()[1], (("triton-grpc-protocol-k", "v"),))

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.peer, self.socket = Peer(), connection
                self.connections += 1
                self.flush()
            self.serve(connection, self.peer)

    def serve(self, connection: socket.socket, peer: Peer) -> None:
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            with self.lock:
                peer.take(data)
                self.flush()
                for call, received in peer.received.items():
                    while len(received) >= 5 and len(received) >= (size := 5 + int.from_bytes(received[1:5], "big")):
                        self.sent.append((call, service_pb2.ModelInferRequest.FromString(bytes(received[5:size]))))
                        del received[:size]

    def flush(self) -> None:
        with suppress(OSError):  # the client has left
            self.socket.sendall(self.peer.bytes_to_send())

    def act(self, act: Callable[[Peer], None]) -> None:
        with self.lock:
            act(self.peer)
            self.flush()

    def ids(self) -> list[str]:
        return [request.id for _, request in self.sent]

    def respond(self, call: int, message: Any) -> None:
        def act(peer: Peer) -> None:
            if not peer.http2.streams[call].state_machine.headers_sent:
                peer.http2.send_headers(call, HEADERS)
            peer.say(call, message.SerializeToString())

        self.act(act)

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.socket.close()


def response(name: str, ids: list[list[int]] | None, final: bool = False, **raw: Any) -> Any:
    """A ModelInferResponse of these beams; None has no outputs."""
    message = service_pb2.ModelInferResponse(id=name)
    message.parameters["triton_final_response"].bool_param = final
    outputs = (
        {} if ids is None else {"output_ids": np.array([ids], np.int32), "sequence_length": [[len(i) for i in ids]]}
    )
    for key, values in {**outputs, **raw}.items():
        message.outputs.add(name=key)
        dtype = np.float32 if "probs" in key else np.int32
        message.raw_output_contents.append(np.array(values, dtype).tobytes())
    return message


def streamed(*args: Any, error: str = "", **raw: Any) -> Any:
    return service_pb2.ModelStreamInferResponse(infer_response=response(*args, **raw), error_message=error)


class Gained:
    """A receiver that keeps what it is given."""

    def __init__(self) -> None:
        self.all: list[tuple[int, list[int], Any]] = []

    def on_chunk(self, key: int, chunk: TokenChunk) -> None:
        _, ids, *extras = encode_chunk(key, chunk)
        self.all.append((key, ids, extras[0] if extras else None))

    def on_refusal(self, key: int, error: QwenTritonError) -> None:
        self.all.append((key, [], error))


class Setting:
    def __init__(self, decoupled: bool = True) -> None:
        self.model = Model()
        inputs = frozenset(t.name for t in ENGINE_INPUTS) - {"min_length", "min_tokens"} | {"return_perf_metrics"}
        facts = EngineModelFacts(inputs, decoupled, False, 4096, 100)
        self.client = ModelClient(self.model.address, "engine", facts, connect_s=0.2)
        self.receiver = Gained()
        self.keys = itertools.count(secrets.randbits(48))

    def submit(self, *requests: EngineRequest) -> list[int]:
        keys = [next(self.keys) for _ in requests]
        before = len(self.model.sent)
        self.client.submit(list(zip(keys, requests, strict=True)))
        assert becomes(lambda: len(self.model.sent) == before + len(requests), WAIT_S)
        return keys

    def receives(self) -> bool:
        """A look at what has arrived; what it answers comes to the server."""
        self.client.receive(self.receiver, 0.05)
        return True

    def hears(self, count: int) -> list[tuple[int, list[int], Any]]:
        """What was gained, once it is so much."""

        def heard() -> bool:
            self.client.receive(self.receiver, 0.05)
            return len(self.receiver.all) >= count

        assert becomes(heard, WAIT_S)
        return self.receiver.all


@pytest.fixture
def setting() -> Iterator[Callable[..., Setting]]:
    opened: list[Setting] = []

    def build(decoupled: bool = True) -> Setting:
        opened.append(Setting(decoupled))
        return opened[-1]

    yield build
    for one in opened:
        one.client.close()
        one.model.close()


def request(**sampling: Any) -> EngineRequest:
    return EngineRequest((5, 6), SamplingParams(**{"max_tokens": 3, "seed": 1, **sampling}))


def test_requests_share_a_call_and_each_hears_its_own(setting: Callable[..., Setting]) -> None:
    """By their ids, whatever the order; the reason of an end is the count."""
    here = setting()
    first, second = here.submit(request(), request())
    (call, sent), (other, _) = here.model.sent
    assert (call, other, here.model.peer.requests[call][":path"]) == (1, 1, STREAM_INFER)
    assert here.model.peer.requests[call]["triton-grpc-protocol-k"] == "v"
    assert (sent.model_name, sent.id, [o.name for o in sent.outputs]) == (
        "engine",
        str(first),
        ["output_ids", "sequence_length"],
    )
    assert sent.parameters["triton_enable_empty_final_response"].bool_param
    for message in (
        streamed(str(second), [[7]]),
        streamed(str(first), [[8]]),
        streamed(str(second), [[9]]),
        streamed(str(first), None, True),
        streamed(str(second), [[4]], True),
        streamed(str(second), [[1]]),
        streamed("a stranger's", [[1]]),
    ):
        here.model.respond(call, message)
    assert here.hears(5) == [
        (second, [7], None),
        (first, [8], None),
        (second, [9], None),
        (first, [], {"finish": "stop"}),
        (second, [4], {"finish": "length"}),
    ]
    here.client.receive(here.receiver, 0.05)
    assert len(here.receiver.all) == 5


def test_beams_and_log_probs_are_asked_for_and_read(setting: Callable[..., Setting]) -> None:
    here = setting()
    (key,) = here.submit(request(beam_width=2))
    assert [o.name for o in here.model.sent[0][1].outputs][2:] == ["output_log_probs", "cum_log_probs"]
    scores = {"output_log_probs": [[[-0.5], [-1.0]]], "cum_log_probs": [[-0.5, -1.0]]}
    here.model.respond(1, streamed(str(key), [[7], [8]], True, **scores))
    assert here.hears(4) == [
        (key, [7], {"log_probs": [-0.5], "cum_log_prob": -0.5, "last": False}),
        (key, [8], {"log_probs": [-1.0], "cum_log_prob": -1.0, "sequence": 1}),
        (key, [], {"finish": "stop", "last": False}),
        (key, [], {"finish": "stop", "sequence": 1}),
    ]


def test_metrics_are_asked_for_and_read(setting: Callable[..., Setting]) -> None:
    """Each response has those so far; a request that does not want them asks for no output of theirs."""
    here = setting()
    (key, plain) = here.submit(replace(request(), perf_metrics=True), request())
    sent = [message for _, message in here.model.sent]
    assert [o.name for o in sent[0].outputs][2:] == [tensor.name for tensor in PERF_METRICS]
    assert [o.name for o in sent[1].outputs] == ["output_ids", "sequence_length"]
    assert "return_perf_metrics" in [i.name for i in sent[0].inputs]
    assert "return_perf_metrics" not in [i.name for i in sent[1].inputs]
    here.model.respond(1, streamed(str(key), [[7]], total_draft_tokens=[[1]]))
    here.model.respond(1, streamed(str(key), None, True, total_draft_tokens=[[5]]))
    here.model.respond(1, streamed(str(plain), [[7]], True))
    metrics = [{"total_draft_tokens": number.to_bytes(4, "little")} for number in (1, 5)]
    assert here.hears(3) == [
        (key, [7], {"log_probs": [], "metrics": metrics[0]}),
        (key, [], {"finish": "stop", "metrics": metrics[1]}),
        (plain, [7], {"finish": "stop"}),
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            "Executor failed process requestId 4 due to the following error: LoRA task 7 not found in cache. "
            "Please send LoRA weights with request",
            "LoRA task 7 not found in cache. Please send LoRA weights with request",
        ),
        (
            "[ERROR] Assertion failed: lora_weights has too few values for attn_qkv (/app/cpp/loraModule.cpp:113)\n1  0x7f",
            "[ERROR] Assertion failed: lora_weights has too few values for attn_qkv",
        ),
    ],
)
def test_an_adapter_that_the_backend_refuses_is_the_caller_s_to_send_again(
    setting: Callable[..., Setting], error: str, told: str
) -> None:
    """Of a request without one, the same words are a fault of the engine."""
    here = setting()
    key, other = here.submit(replace(request(), lora_task=LoraTask(7)), request())
    here.model.respond(1, streamed(str(key), None, True, error=error))
    here.model.respond(1, streamed(str(other), None, True, error=error))
    (_, _, refusal), failed = here.hears(2)
    assert isinstance(refusal, InvalidRequest)
    assert (refusal.field, str(refusal)) == ("lora_task_id", f"lora_task_id: {told}")
    assert failed == (other, [], {"finish": "error", "error": error})


def test_a_full_cache_of_adapters_has_room_later(setting: Callable[..., Setting]) -> None:
    here = setting()
    (key,) = here.submit(replace(request(), lora_task=LoraTask(7)))
    here.model.respond(1, streamed(str(key), None, True, error="Cache is full. There are no done tasks to evict"))
    ((_, _, refusal),) = here.hears(1)
    assert isinstance(refusal, Unavailable)
    assert str(refusal) == "the engine's cache of adapters is full; try again later"


def test_weights_of_several_megabytes_arrive_whole(setting: Callable[..., Setting]) -> None:
    """They are many times what HTTP/2 lets a client send before the server takes it."""
    here = setting()
    weights, config = bytes(range(256)) * 2**14, np.array([[0, 0, 8]] * 4, np.int32).tobytes()
    here.client.submit([(1, replace(request(), lora_task=LoraTask(7, 4, weights, config))), (2, request())])
    assert becomes(lambda: here.receives() and len(here.model.sent) == 2, WAIT_S)
    sent = here.model.sent[0][1]
    shapes = {i.name: (i.datatype, list(i.shape)) for i in sent.inputs}
    raw = dict(zip([i.name for i in sent.inputs], sent.raw_input_contents, strict=True))
    assert shapes["lora_weights"] == ("FP16", [1, 4, len(weights) // 8])
    assert (shapes["lora_config"], shapes["lora_task_id"]) == (("INT32", [1, 4, 3]), ("UINT64", [1, 1]))
    assert raw["lora_weights"] == weights


def test_a_cancel_is_a_stop_request_with_the_same_id(setting: Callable[..., Setting]) -> None:
    """What still comes is dropped; a second cancel says nothing."""
    here = setting()
    key, other = here.submit(request(), request())
    here.client.cancel(key)
    here.client.cancel(key)
    assert becomes(lambda: len(here.model.sent) == 3, WAIT_S)
    call, sent = here.model.sent[2]
    raw = dict(zip([i.name for i in sent.inputs], sent.raw_input_contents, strict=True))
    assert (call, sent.id, raw["stop"]) == (1, str(key), b"\1")
    here.model.respond(1, streamed(str(key), [[7]]))
    here.model.respond(1, streamed(str(key), None, True, error="no such request"))
    here.model.respond(1, streamed(str(other), [[8]]))
    assert here.hears(1) == [(other, [8], None)]


def test_an_error_ends_its_request_alone(setting: Callable[..., Setting]) -> None:
    """As does an answer that cannot be read."""
    here = setting()
    bad, odd, good = here.submit(request(), request(), request())
    here.model.respond(1, streamed(str(bad), None, True, error="out of blocks"))
    here.model.respond(1, streamed(str(odd), None, output_ids=[], cum_log_probs=[]))
    here.model.respond(1, streamed(str(good), [[8]]))
    heard = here.hears(3)
    assert heard[0] == (bad, [], {"finish": "error", "error": "out of blocks"})
    assert heard[1][0] == odd
    assert "cannot be read" in heard[1][2]["error"]
    assert heard[2] == (good, [8], None)


def test_a_request_that_hears_nothing_in_time_is_let_go_of(setting: Callable[..., Setting]) -> None:
    """One that has its first token by then is not, nor one without a timeout."""
    here = setting()
    patient = replace(request(), queue_timeout_s=0.3)
    late, begun, _ = here.submit(patient, patient, request())
    here.model.respond(1, streamed(str(begun), [[7]]))
    heard = here.hears(2)
    assert [key for key, _, _ in heard] == [begun, late]
    assert isinstance(heard[1][2], Unavailable)
    assert becomes(lambda: here.model.ids()[3:] == [str(late)], WAIT_S)
    here.client.receive(here.receiver, 0.4)
    assert len(here.receiver.all) == 2


@pytest.mark.parametrize("end", ["connection", "call"])
def test_a_lost_connection_fails_what_was_asked_and_the_next_request_connects_anew(
    setting: Callable[..., Setting], end: str
) -> None:
    here = setting()
    keys = here.submit(request(), request())
    if end == "connection":
        here.model.socket.shutdown(socket.SHUT_RDWR)
    else:
        here.model.act(lambda peer: peer.http2.send_headers(1, [*HEADERS, ("grpc-status", "13")], end_stream=True))
    heard = here.hears(2)
    assert {key for key, _, _ in heard} == set(keys)
    assert all(isinstance(e, Unavailable) and "out of reach" in str(e) and "try again" in str(e) for _, _, e in heard)
    (key,) = here.submit(request())
    here.model.respond(1, streamed(str(key), [[7]]))
    assert here.hears(3)[2] == (key, [7], None)
    assert here.model.connections == 2


def test_after_a_goodbye_answers_still_come_and_requests_go_elsewhere(setting: Callable[..., Setting]) -> None:
    """A server may end connections of an age."""
    here = setting()
    (old,) = here.submit(request())
    first, peer = here.model.socket, here.model.peer
    frame = b"\0\0\x08\7\0\0\0\0\0" + (1).to_bytes(4, "big") + bytes(4)
    first.sendall(frame)
    here.client.receive(here.receiver, WAIT_S)
    here.client.receive(here.receiver, 0.1)
    threading.Thread(target=here.model.serve, args=(first, peer), daemon=True).start()
    assert here.receiver.all == []
    assert here.client._connections[0].usable is False
    peer.http2.send_headers(1, HEADERS)
    peer.say(1, streamed(str(old), [[7]], True).SerializeToString())
    first.sendall(peer.bytes_to_send())
    assert here.hears(1) == [(old, [7], {"finish": "stop"})]
    assert here.client._connections == []


def test_a_model_that_answers_whole_gets_a_call_for_each_request(setting: Callable[..., Setting]) -> None:
    """So that none waits for the one before; its cancel is a call as well, and its own end that of its answer."""
    here = setting(decoupled=False)
    first, second, third = here.submit(request(), request(), request())
    calls = [call for call, _ in here.model.sent]
    assert calls == [1, 3, 5]
    assert {here.model.peer.requests[call][":path"] for call in calls} == {INFER}
    assert here.model.peer.half_closed == {1, 3, 5}
    here.model.respond(3, response(str(second), [[7, 8]]))
    here.model.act(lambda peer: peer.end(3))
    trailers = [*HEADERS, ("grpc-status", "3"), ("grpc-message", "too long")]
    here.model.act(lambda peer: peer.http2.send_headers(1, trailers, end_stream=True))
    here.client.cancel(third)
    assert becomes(lambda: len(here.model.sent) == 4, WAIT_S)
    assert here.model.sent[3][0] == 7
    assert here.hears(2) == [
        (second, [7, 8], {"finish": "stop"}),
        (first, [], {"finish": "error", "error": "too long"}),
    ]


def test_calls_that_the_server_does_not_take_fail_alone(setting: Callable[..., Setting]) -> None:
    """A bound on the calls of a connection."""
    here = setting(decoupled=False)
    here.submit(request())
    here.model.act(lambda peer: peer.http2.update_settings({3: 1}))
    assert becomes(lambda: here.receives() and here.model.peer.http2.local_settings.max_concurrent_streams == 1, WAIT_S)
    key = next(here.keys)
    here.client.submit([(key, request())])
    assert "takes 1 calls at once" in str(here.hears(1)[0][2])
    assert here.receiver.all[0][0] == key


def test_without_a_server_a_request_is_unavailable(setting: Callable[..., Setting]) -> None:
    here = setting()
    here.model.close()
    with pytest.raises(Unavailable, match=r"the server's own gRPC \(127.0.0.1:\d+\) does not answer"):
        here.client.submit([(1, request())])
    assert here.model.sent == []


def test_what_the_model_does_not_declare_is_refused_before_anything_is_sent(setting: Callable[..., Setting]) -> None:
    here = setting()
    with pytest.raises(InvalidRequest, match="the engine model does not take it"):
        here.client.submit([(1, request(min_tokens=1))])
    assert here.model.connections == 0


def test_a_wake_ends_the_waiting(setting: Callable[..., Setting]) -> None:
    here = setting()
    threading.Timer(0.1, here.client.wake).start()
    here.client.receive(here.receiver, WAIT_S)
    assert here.receiver.all == []
