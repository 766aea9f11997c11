"""The shim beside its server: requests go past it to the BLS's processes, and nobody notices, whatever befalls those."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from qwen_triton.tensors.contract import BLS
from tests.live.openai.test_operation import PARENT, collecting
from tests.support.live.launches import gone, launched
from tests.support.live.metric_lines import metrics
from tests.support.live.repository_control import EXPLICIT, OPEN, control, touch
from tests.support.live.servers import LiveServer, serving
from tests.support.live.shims import MODEL, LiveShim, shimming, status
from tests.support.live.waiting import becomes, settled

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

WAIT_S = 30.0
SOON_S = 5.0
TEXT = "one two three four five six seven eight nine ten"
USER = {"role": "user", "content": "Say: é 你好 🙂"}
TOOL = {"type": "function", "function": {"name": "write", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
_SENT = re.compile(r'^qwen_triton_openai_model_requests_total\{.*way="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)
_THROUGH = re.compile(rf'^nv_inference_request_success\{{model="{BLS}",version="1"\}} ([\d.e+]+)$', re.MULTILINE)
_VARYING = re.compile(r'"(?:id|tool_call_id)":"[^"]*"|"created":\d+')


@pytest.fixture(scope="module")
def server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """200 tokens a second for each request; models can be loaded again."""
    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "replay", "step_ms": 5.0, "slots": 64},
        "server": OPEN,
        "repository": {"bls_instances": 1},
    }
    with serving(deployment, tmp_path_factory.mktemp("server"), flags=EXPLICIT) as started:
        yield started


@pytest.fixture(scope="module")
def shim(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(server, tmp_path_factory.mktemp("local")) as started:
        yield started


def body(max_tokens: int = 20, **more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "ignore_eos": True,
        "max_tokens": max_tokens,
        **({} if "messages" in more else {"prompt": TEXT}),
        **more,
    }


def sent(shim: LiveShim) -> dict[str, int]:
    """The requests that the shim has sent to the model, by their way."""
    text = urllib.request.urlopen(f"{shim.url}/metrics", timeout=WAIT_S).read().decode()
    return {"local": 0, "grpc": 0} | {way: int(float(count)) for way, count in _SENT.findall(text)}


def through(server: LiveServer) -> int:
    """The requests to the BLS that have gone through the server, which may count one after its answer."""

    def count() -> int:
        text = urllib.request.urlopen(server.metrics, timeout=WAIT_S).read().decode()
        return sum(int(float(count)) for count in _THROUGH.findall(text))

    return settled(count)


def ask(shim: LiveShim, tokens: int) -> httpx.Response:
    return httpx.post(f"{shim.v1}/completions", json=body(tokens), timeout=WAIT_S)


def goes_locally(shim: LiveShim) -> bool:
    """Whether a request is answered and has gone past the server."""
    before = sent(shim)["local"]
    return ask(shim, 1).status_code == 200 and sent(shim)["local"] == before + 1


def process_of(server: LiveServer) -> list[psutil.Process]:
    """The processes of the BLS."""
    return [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if any(f"/{BLS}/" in word for word in child.cmdline()) and "python_backend_stub" in child.cmdline()[0]
    ]


REQUESTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "whole": ("completions", {"prompt": TEXT}, 200),
    "streamed": ("completions", {"prompt": TEXT, "stream": True}, 200),
    "usage": (
        "completions",
        {"prompt": TEXT, "stream": True, "stream_options": {"include_usage": True}},
        200,
    ),
    "two sequences": ("completions", {"prompt": TEXT, "n": 2, "seed": 1}, 200),
    "two, streamed": ("completions", {"prompt": TEXT, "n": 2, "seed": 1, "stream": True}, 200),
    "two prompts": ("completions", {"prompt": [TEXT, "other"]}, 200),
    "token ids": ("completions", {"prompt": [1, 2, 3], "max_tokens": 3}, 200),
    "echo": ("completions", {"prompt": TEXT, "max_tokens": 2, "echo": True}, 200),
    "logprobs": ("completions", {"prompt": TEXT, "max_tokens": 4, "logprobs": 1}, 200),
    "stop": ("completions", {"prompt": TEXT, "stop": [" five", "x"]}, 200),
    "stop, streamed": ("completions", {"prompt": TEXT, "stop": " five", "stream": True}, 200),
    "a long prompt": ("completions", {"prompt": TEXT * 300, "max_tokens": 3}, 200),
    "bias": ("completions", {"prompt": TEXT, "max_tokens": 3, "logit_bias": {"5": 1}}, 200),
    "chat": ("chat/completions", {"messages": [USER], "max_tokens": 40}, 200),
    "chat, streamed": ("chat/completions", {"messages": [USER], "max_tokens": 40, "stream": True}, 200),
    "tools": ("chat/completions", {"messages": [USER], "max_tokens": 120, "tools": [TOOL]}, 200),
    "tools, streamed": (
        "chat/completions",
        {"messages": [USER], "max_tokens": 120, "tools": [TOOL], "stream": True},
        200,
    ),
    "a forced tool": (
        "chat/completions",
        {"messages": [USER], "max_tokens": 30, "tools": [TOOL], "tool_choice": "required"},
        200,
    ),
    "a schema": ("chat/completions", {"messages": [USER], "max_tokens": 30, "response_format": SCHEMA}, 400),
    "too many tokens": ("completions", {"prompt": TEXT, "max_tokens": 10_000_000, "stop": " five"}, 200),
    "too long a prompt": ("completions", {"prompt": TEXT * 3400}, 400),
    "a wrong temperature": ("completions", {"prompt": TEXT, "temperature": -1}, 400),
    "a wrong regex": ("chat/completions", {"messages": [USER], "structured_outputs": {"regex": "(["}}, 400),
    "half a pair": ("chat/completions", {"messages": [{"role": "user", "content": "\ud800"}]}, 400),
    "half a pair in a key": (
        "chat/completions",
        {
            "messages": [USER],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"\ud800": 1}}},
        },
        400,
    ),
    "an unknown adapter": ("completions", {"prompt": TEXT, "model": "nobody"}, 404),
}


def fold(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Joins what a stream says in pieces: how much is in one depends on the time."""
    for key, value in new.items():
        old = into.get(key)
        if key in ("text", "content", "arguments") and isinstance(old, str):
            into[key] = old + (value or "")
        elif isinstance(old, dict) and isinstance(value, dict):
            fold(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            for item in value:
                same = [
                    one for one in old if isinstance(item, dict) and "index" in item and one["index"] == item["index"]
                ]
                if same:
                    fold(same[0], item)
                else:
                    old.append(item)
        elif value is not None or key not in into:
            into[key] = value


def comparable(reply: httpx.Response) -> Any:
    """All of an answer but ids and times; a stream as what its pieces say together."""
    said = _VARYING.sub('"":""', reply.text)
    if "event-stream" not in reply.headers["content-type"]:
        return reply.status_code, said
    *events, end = [line.removeprefix("data: ") for line in said.splitlines() if line]
    joined: dict[str, Any] = {}
    for event in events:
        fold(joined, json.loads(event))
    joined["choices"].sort(key=lambda choice: choice["index"])
    return reply.status_code, joined, end


def test_both_ways_give_the_same_answer(server: LiveServer, shim: LiveShim, tmp_path: Path) -> None:
    """To the byte but for ids and times; the server counts what goes through it and does not see the rest."""
    assert becomes(lambda: goes_locally(shim), WAIT_S)
    with shimming(server, tmp_path, {"local_sockets": False}) as other, httpx.Client(timeout=WAIT_S) as client:

        def answers(of: LiveShim) -> dict[str, Any]:
            found = {}
            for name, (path, given, status) in REQUESTS.items():
                data = json.dumps(body(**{"max_tokens": 9, **given}))  # escapes what is no Unicode
                reply = client.post(f"{of.v1}/{path}", content=data, headers={"content-type": "application/json"})
                assert (name, reply.status_code) == (name, status), reply.text
                found[name] = comparable(reply)
            return found

        before, counted = through(server), sent(shim)
        local = answers(shim)
        assert (through(server), sent(shim)["grpc"]) == (before, counted["grpc"])
        assert sent(shim)["local"] >= counted["local"] + sum(status == 200 for _, _, status in REQUESTS.values())
        before, counted = through(server), sent(other)
        assert answers(other) == local
        assert sent(other)["local"] == 0
        assert through(server) - before >= sum(status == 200 for _, _, status in REQUESTS.values())


class Stream:
    """A streamed answer, read on a thread from its first piece on; `end`: how it ended."""

    def __init__(self, shim: LiveShim, tokens: int) -> None:
        host, _, port = shim.url.removeprefix("http://").partition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=WAIT_S)
        self.began, self.end, self.ended_at = False, "", 0.0
        self._tokens = tokens
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def leave(self) -> None:
        """Its caller disconnects."""
        self.connection.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self.connection.request(
                "POST",
                "/v1/completions",
                json.dumps(body(self._tokens, stream=True)),
                {"content-type": "application/json"},
            )
            reply = self.connection.getresponse()
            said = reply.readline()
            self.began = reply.status == 200
            said += reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.end = f"cut: {error!r}"
        else:
            self.end = self._judge(reply.status, said.decode())
        self.ended_at = time.monotonic()

    def _judge(self, status: int, said: str) -> str:
        events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
        if status != 200 or "error" in said:
            return f"{status} {said[-300:]}"
        if not said.endswith("data: [DONE]\n\n"):
            return f"no end: {said[-300:]}"
        text = "".join(choice["text"] for event in events for choice in event["choices"])
        return "whole" if text == WHOLE.get(self._tokens) else f"wrong: {text}"


WHOLE: dict[int, str] = {}
"""The answer of so many tokens, of those that are heard to their end."""
LONG = 3000
"""Tokens of a stream that a test ends."""


@contextmanager
def streams(shim: LiveShim, count: int, tokens: int) -> Iterator[list[Stream]]:
    """So many that have begun; at the end all have ended."""
    if tokens not in WHOLE and tokens < LONG:
        reply = ask(shim, tokens)
        WHOLE[tokens] = reply.json()["choices"][0]["text"]
    found = [Stream(shim, tokens) for _ in range(count)]
    try:
        assert becomes(lambda: all(one.began for one in found), WAIT_S), [one.end for one in found]
        yield found
    finally:
        for one in found:
            one.thread.join()


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_the_slot(server: LiveServer, shim: LiveShim, stream: bool) -> None:
    """Long before the answer would end; what others asked goes on."""
    assert becomes(lambda: goes_locally(shim), WAIT_S)
    counted = sent(shim)
    with streams(shim, 1, LONG) as (other,):
        host, _, port = shim.url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=WAIT_S)
        connection.request("POST", "/v1/completions", json.dumps(body(LONG, stream=stream)))
        assert becomes(lambda: server.runs(2), WAIT_S)
        connection.close()
        assert becomes(lambda: server.runs(1), SOON_S)
        assert not other.end
        other.leave()
        assert becomes(server.is_free, SOON_S)
    assert sent(shim)["grpc"] == counted["grpc"]


def test_a_traced_request_goes_through_the_server(server: LiveServer, tmp_path: Path) -> None:
    """Which has a span of it."""
    with collecting() as collector, shimming(server, tmp_path, {"otlp_endpoint": collector.endpoint}) as traced:
        for count in range(1, 4):
            before = through(server)
            reply = httpx.post(
                f"{traced.v1}/completions", json=body(2), headers={"traceparent": PARENT}, timeout=WAIT_S
            )
            assert reply.status_code == 200
            assert through(server) == before + 1
            assert sent(traced) == {"local": 0, "grpc": count}


def test_no_request_fails_while_the_bls_is_loaded_again(server: LiveServer, shim: LiveShim) -> None:
    """Streams begin all the time, before, meanwhile and afterwards: all are whole, and the new process has the later ones."""
    assert becomes(lambda: goes_locally(shim), WAIT_S)
    with streams(shim, 1, 60):
        pass
    (old,) = process_of(server)
    ends: list[str] = []
    stopping = threading.Event()

    def caller() -> None:
        while not stopping.is_set():
            one = Stream(shim, 60)
            one.thread.join()
            ends.append(one.end)

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for each in callers:
        each.start()
    time.sleep(0.5)
    touch(server, BLS)
    assert control(server, BLS, "load") == ""
    left = becomes(lambda: gone([old]), WAIT_S)
    counted = sent(shim)["local"]
    again = becomes(lambda: sent(shim)["local"] >= counted + 16, WAIT_S)
    stopping.set()
    for each in callers:
        each.join()
    assert (set(ends), left, again) == ({"whole"}, True, True)
    assert len(process_of(server)) == 1
    assert becomes(server.is_free, WAIT_S)


def in_flight(server: LiveServer) -> list[float]:
    """The requests that each process of the BLS has not answered, as it says itself."""
    return sorted(metric.value for metric in metrics(server, "requests_in_flight") if metric.labels["model"] == BLS)


def both_workers_are_connected(shim: LiveShim) -> bool:
    """Whether each has said so. Which of them answers, and looks for the processes then, is chance."""
    return status(f"{shim.url}/health/ready") == 200 and shim.log.read_text().count("straight to 2 of its 2") >= 2


def test_two_processes_of_the_bls_and_two_workers(
    qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both processes get requests of both workers; who leaves is heard of by the process that has the request. A server that
    is told to end meanwhile, which does not know of these requests, lets them end."""
    engine = {"kind": "replay", "step_ms": 5.0, "slots": 64}
    deployment = {"model": str(qwen25_folder), "engine": engine, "repository": {"bls_instances": 2}}
    with ExitStack() as longer:
        with serving(deployment, tmp_path_factory.mktemp("two")) as two:
            shim = longer.enter_context(shimming(two, tmp_path_factory.mktemp("workers"), {"workers": 2}))
            assert becomes(lambda: both_workers_are_connected(shim), WAIT_S)
            before = through(two)
            with streams(shim, 16, LONG) as received:
                assert becomes(lambda: sum(in_flight(two)) == 16, WAIT_S)
                assert len(in_flight(two)) == 2
                assert in_flight(two)[0] >= 4
                for one in received[:10]:
                    one.leave()
                assert becomes(lambda: two.runs(6), WAIT_S)
                assert becomes(lambda: sum(in_flight(two)) == 6, WAIT_S)
                for one in received[10:]:
                    one.leave()
                assert becomes(two.is_free, WAIT_S)
            assert through(two) == before
            last = longer.enter_context(streams(shim, 8, 600))
        longer.close()
        assert [one.end for one in last] == ["whole"] * 8


def test_a_launch_whose_bls_is_killed_and_that_is_told_to_end(qwen25_folder: Path, tmp_path: Path) -> None:
    """All streams of a killed process hear of it, and the next ones go past the server again. Those that are under way when
    the launch is told to end are whole: the server does not know of them."""
    deployment = {
        "model": str(qwen25_folder),
        "served_model_name": MODEL,
        "engine": {"kind": "replay", "step_ms": 5.0, "slots": 64},
    }
    with launched(deployment, tmp_path, "--on-failure", "restart") as launch:
        shim = LiveShim(f"http://127.0.0.1:{launch.deployment.openai.port}", launch.process, launch.folder / "log")
        assert becomes(lambda: goes_locally(shim), WAIT_S)
        with streams(shim, 20, LONG) as received:
            killed_at = time.monotonic()
            launch.find("triton_python_backend_stub", f"/{BLS}/").kill()
        assert max(one.ended_at for one in received) - killed_at < SOON_S
        assert ["try again" in one.end for one in received] == [True] * 20, [one.end for one in received]
        assert becomes(lambda: goes_locally(shim), WAIT_S)
        with streams(shim, 8, 200) as received:
            processes = launch.descendants()
            assert launch.end() == 0, launch.errors
        assert [one.end for one in received] == ["whole"] * 8
        assert gone(processes)
        assert launch.leftovers() == []
