"""A launch that is told to end under lasting load, over connections that stay open: nothing that was begun is cut."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.live.crowd import Grpc
from tests.support.live.launches import Launch, gone, launched
from tests.support.live.six_ways import MODEL, live_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

TEXT = "one two three four five six seven eight"
LOAD_S = 2.0
END_S = 30.0
WORKERS = 4
_REFUSED = re.compile(r"try again|shutting down|not ready|unknown model|no available versions|UNAVAILABLE|Connection")


class Worker:
    """Asks one way in without pause over one connection until it is refused; `outcomes` counts what came of it."""

    def __init__(self, launch: Launch, ask: Callable[[Any], str], connect: Callable[[], Any]) -> None:
        self.outcomes: Counter[str] = Counter()
        self._ask, self._connection = ask, connect()
        self._launch = launch
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self._launch.process.poll() is None:
            outcome = self._ask(self._connection)
            self.outcomes[outcome] += 1
            if outcome != "whole":
                return


def ask_http(path: str, body: dict[str, Any]) -> Callable[[http.client.HTTPConnection], str]:
    """One POST over an open connection: «whole», «refused», «nothing» (closed unanswered), or what was cut."""
    data, streamed = json.dumps(body), bool(body.get("stream"))

    def ask(connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            reply = connection.getresponse()
        except (OSError, http.client.HTTPException):
            return "nothing"
        try:
            said = reply.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return f"cut: {error!r}"
        if _is_error(said):
            return "refused" if _REFUSED.search(said) else f"wrong: {said}"
        return "whole" if reply.status == 200 and (not streamed or _text(said) == TEXT) else f"wrong: {said}"

    return ask


def _is_error(said: str) -> bool:
    return '"error"' in said


def _text(stream: str) -> str:
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(e["text_output"] if "text_output" in e else "".join(c["text"] for c in e["choices"]) for e in events)


def ask_grpc(launch: Launch, model: str) -> Callable[[grpc.Channel], str]:
    """One ModelStreamInfer call over an open channel, told as `ask_http` does."""
    request = Grpc(live_server(launch), model, {"text_input": TEXT, "max_tokens": 30, "stream": True})._request()

    def ask(channel: grpc.Channel) -> str:
        pieces = []
        try:
            for reply in service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request])):
                if reply.error_message:
                    refused = _REFUSED.search(reply.error_message) and not pieces
                    return "refused" if refused else f"cut: {reply.error_message}"
                pieces += [
                    raw[4:]
                    for output, raw in zip(
                        reply.infer_response.outputs, reply.infer_response.raw_output_contents, strict=True
                    )
                    if output.name == "text_output"
                ]
        except grpc.RpcError as error:
            return f"cut: {error}" if pieces else "nothing"
        return "whole" if b"".join(pieces).decode() == TEXT else f"wrong: {pieces}"

    return ask


def ways(launch: Launch) -> dict[str, tuple[Callable[[Any], str], Callable[[], Any]]]:
    """By name: how to ask, and how to connect."""
    server, openai = live_server(launch), launch.deployment.openai.port
    inputs = {"text_input": TEXT, "max_tokens": 30}

    def http_to(address: str) -> Callable[[], Any]:
        return lambda: http.client.HTTPConnection(address, timeout=END_S)

    def model(name: str, stream: bool) -> Callable[[Any], str]:
        path = f"/v2/models/{name}/generate" + ("_stream" if stream else "")
        return ask_http(path, inputs | ({"stream": True} if stream else {}))

    completion = {"model": MODEL, "prompt": TEXT, "max_tokens": 30, "stream": True}
    return {
        "generate": (model(BLS, False), http_to(server.http)),
        "generate_stream": (model(BLS, True), http_to(server.http)),
        "generate_stream of the ensemble": (model(ENSEMBLE, True), http_to(server.http)),
        "gRPC": (ask_grpc(launch, BLS), lambda: grpc.insecure_channel(server.grpc)),
        "gRPC of the ensemble": (ask_grpc(launch, ENSEMBLE), lambda: grpc.insecure_channel(server.grpc)),
        "the shim": (ask_http("/v1/completions", completion), http_to(f"127.0.0.1:{openai}")),
    }


@contextmanager
def loaded(folder: Path, qwen: Path) -> Iterator[tuple[Launch, dict[str, list[Worker]]]]:
    """A launch under load on every way in."""
    engine = {"kind": "replay", "step_ms": 20.0}
    with launched({"model": str(qwen), "served_model_name": MODEL, "engine": engine}, folder) as launch:
        workers = {
            name: [Worker(launch, ask, connect) for _ in range(WORKERS)]
            for name, (ask, connect) in ways(launch).items()
        }
        time.sleep(LOAD_S)
        yield launch, workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_was_accepted_is_answered_and_the_rest_refused(
    number: signal.Signals, qwen25_folder: Path, tmp_path: Path
) -> None:
    """On each way in every request is answered whole, until one is refused; nothing is cut, and nothing is left."""
    with loaded(tmp_path, qwen25_folder) as (launch, workers):
        processes = launch.descendants()
        launch.process.send_signal(number)
        assert launch.process.wait(END_S) == 0, launch.errors
        for each in (worker for group in workers.values() for worker in group):
            each.thread.join(END_S)
        outcomes = {name: sum((w.outcomes for w in group), Counter()) for name, group in workers.items()}
    assert {n: sorted(set(o) - {"whole"}) for n, o in outcomes.items()} == {key: ["refused"] for key in outcomes}, (
        outcomes
    )
    assert min(o["whole"] for o in outcomes.values()) > WORKERS
    assert gone(processes)
    assert launch.leftovers() == []
