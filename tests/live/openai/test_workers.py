"""Several workers on one port: limits, metrics and the drain are those of all together, and a dead worker is replaced."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qwen_triton_openai.middleware.keys import ApiKey, KeyLimits, digest_of, new_secret
from tests.live.conftest import Serve
from tests.support.certificates import make_certificate
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming, status

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

WORKERS, CALLERS = 3, 32
IN_FLIGHT, QUEUED, AT_ONCE, A_MINUTE = 6, 4, 5, 40
SOON_S = 30.0
ALICE, BOB, CAROL = (new_secret() for _ in range(3))
_ANY_CERTIFICATE = ssl._create_unverified_context()


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """100 tokens a second for each request."""
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 10.0}})


@pytest.fixture(scope="module")
def limited(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    folder = tmp_path_factory.mktemp("limited")
    keys = [
        ApiKey("alice", digest_of(ALICE), KeyLimits(concurrency=AT_ONCE)),
        ApiKey("bob", digest_of(BOB), KeyLimits(requests_per_minute=A_MINUTE)),
        ApiKey("carol", digest_of(CAROL)),
    ]
    (folder / "keys").write_text("".join(f"{key.line}\n" for key in keys))
    settings = {"workers": WORKERS, "api_keys_file": "keys", "max_in_flight": IN_FLIGHT, "max_queued": QUEUED}
    with shimming(server, folder, settings) as shim:
        wait_until(lambda: len(workers(shim)) == WORKERS)
        yield shim


def connect(shim: LiveShim) -> http.client.HTTPConnection:
    scheme, _, address = shim.url.partition("://")
    host, _, port = address.partition(":")
    if scheme == "https":
        return http.client.HTTPSConnection(host, int(port), timeout=SOON_S, context=_ANY_CERTIFICATE)
    return http.client.HTTPConnection(host, int(port), timeout=SOON_S)


def post(
    connection: http.client.HTTPConnection, tokens: int, key: str = "", path: str = "/v1/completions", **more: Any
) -> int:
    """The status of one request, its answer read to the end: `tokens` long, or 1,000 for a wrong one. Raises as http.client."""
    body = {"model": MODEL, "prompt": "one two three", "ignore_eos": True, "max_tokens": tokens, **more}
    data = {"model": MODEL, "prompt": "one two three"} if path == "/tokenize" else body
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    connection.request("POST", path, json.dumps(data), headers)
    reply = connection.getresponse()
    said = reply.read()
    if reply.status == 200 and path != "/tokenize" and not more.get("stream"):
        assert json.loads(said)["usage"]["completion_tokens"] == tokens
    if reply.status == 200 and more.get("stream"):
        assert said.endswith(b"data: [DONE]\n\n"), said[-200:]
    return reply.status


def at_once(ask: Callable[[], int], callers: int = CALLERS) -> Counter[int]:
    """What came of so many callers who ask in the same moment."""
    found: list[int] = []
    gate = threading.Barrier(callers)

    def caller() -> None:
        gate.wait(SOON_S)
        found.append(ask())

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(found)


def workers(shim: LiveShim) -> list[int]:
    """Their process ids."""
    return [child.pid for child in psutil.Process(shim.process.pid).children()]


def wait_until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_limits_of_a_key_are_exact_over_all_workers(limited: LiveShim) -> None:
    """32 ask at once: as many as the key may have at once are answered, then as many again; a minute's requests likewise."""
    long = lambda: post(connect(limited), 150, ALICE)  # noqa: E731  short and used twice
    assert [at_once(long) for _ in range(2)] == [Counter({200: AT_ONCE, 429: CALLERS - AT_ONCE})] * 2
    began = time.monotonic()
    found = sum((at_once(lambda: post(connect(limited), 1, BOB, "/tokenize")) for _ in range(4)), Counter[int]())
    refilled = int((time.monotonic() - began) * A_MINUTE / 60) + 1
    assert found.keys() == {200, 429}
    assert A_MINUTE <= found[200] <= A_MINUTE + refilled


def test_the_queue_is_exact_over_all_workers(limited: LiveShim) -> None:
    """So many run, so many wait for their turn, all others are refused."""
    found = at_once(lambda: post(connect(limited), 150, CAROL))
    assert found == Counter({200: IN_FLIGHT + QUEUED, 503: CALLERS - IN_FLIGHT - QUEUED})


def test_a_killed_worker_is_replaced_and_what_it_held_is_free(limited: LiveShim) -> None:
    """Its own streams break, those of the others go on; another starts, and as many as before run and wait."""
    before = workers(limited)
    ended: dict[int, str] = {}

    def stream() -> None:
        connection = connect(limited)
        connection.connect()
        port = connection.sock.getsockname()[1]
        try:
            ended[port] = f"whole {post(connection, 300, CAROL, stream=True)}"
        except (OSError, http.client.HTTPException):
            ended[port] = "broken"

    threads = [threading.Thread(target=stream) for _ in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    wait_until(lambda: sum(len(ports(pid)) for pid in before) >= IN_FLIGHT)
    time.sleep(0.3)
    killed = max(before, key=lambda pid: len(ports(pid)))
    held = ports(killed)
    os.kill(killed, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert ended == {port: "broken" if port in held else "whole 200" for port in ended}
    assert len(ended) == IN_FLIGHT
    wait_until(lambda: len(workers(limited)) == WORKERS and killed not in workers(limited))
    found = at_once(lambda: post(connect(limited), 150, CAROL))
    assert found == Counter({200: IN_FLIGHT + QUEUED, 503: CALLERS - IN_FLIGHT - QUEUED})
    assert f"(process {killed}) ended with exit code -9; another starts" in limited.log.read_text()


def ports(pid: int) -> set[int]:
    """The callers' ports of a worker's connections."""
    found = psutil.Process(pid).net_connections("tcp")
    listening = {c.laddr.port for c in found if c.status == psutil.CONN_LISTEN}
    return {c.raddr.port for c in found if c.raddr and c.laddr.port in listening}


@pytest.fixture
def encrypted(server: LiveServer, tmp_path: Path) -> Iterator[LiveShim]:
    made = make_certificate(tmp_path, "shim")
    settings = {
        "workers": WORKERS,
        "tls_certificate": str(made.certificate),
        "tls_key": str(made.key),
        "drain_notice_s": 1.0,
    }
    with shimming(server, tmp_path, settings) as shim:
        wait_until(lambda: len(workers(shim)) == WORKERS)
        yield shim


def test_metrics_and_the_drain_are_those_of_all_workers(encrypted: LiveShim) -> None:
    """Over TLS. Any worker tells the sum; at the end what was begun is finished, and readiness fails on all of them."""
    assert at_once(lambda: post(connect(encrypted), 8)) == {200: CALLERS}
    name = "qwen_triton_openai_"
    labels = f'key="-",model="{MODEL}"'
    for _ in range(8):
        found = scraped(encrypted)
        assert found[f'{name}requests_total{{{labels},path="/v1/completions",status="200"}}'] == CALLERS
        assert found[f"{name}completion_tokens_total{{{labels}}}"] == 8 * CALLERS
        assert found[f"{name}request_seconds_count{{{labels}}}"] == CALLERS
        assert found[f"{name}in_flight{{{labels}}}"] == found[f"{name}queue_length"] == 0
    outcomes: list[Counter[str]] = []
    callers = [threading.Thread(target=lambda: outcomes.append(ask_until_refused(encrypted))) for _ in range(16)]
    for caller in callers:
        caller.start()
    wait_until(lambda: scraped(encrypted)[f"{name}in_flight{{{labels}}}"] == len(callers))
    assert loads(encrypted) == len(callers)
    encrypted.terminate()
    wait_until(lambda: status(f"{encrypted.url}/health/ready") == 503)
    assert {status(f"{encrypted.url}/health/ready") for _ in range(8)} == {503}
    for caller in callers:
        caller.join()
    total = sum(outcomes, Counter[str]())
    print(total)
    assert total.keys() == {"whole", "refused"}
    assert total["whole"] >= len(callers)
    assert encrypted.process.wait(SOON_S) == 0


def ask_until_refused(shim: LiveShim) -> Counter[str]:
    """Asks over one connection until it is refused or finds it closed between two requests."""
    connection, outcomes = connect(shim), Counter[str]()
    while True:
        try:
            answered = post(connection, 60)
        except (http.client.RemoteDisconnected, ConnectionResetError, ConnectionRefusedError, ssl.SSLError):
            outcomes["closed"] += 1
            return outcomes
        except (OSError, http.client.HTTPException) as error:
            outcomes[f"cut: {error!r}"] += 1
            return outcomes
        outcomes["whole" if answered == 200 else "refused" if answered == 503 else f"wrong: {answered}"] += 1
        if answered != 200:
            return outcomes


def get(shim: LiveShim, path: str) -> str:
    connection = connect(shim)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def scraped(shim: LiveShim) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in get(shim, "/metrics").splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def loads(shim: LiveShim) -> int:
    return int(json.loads(get(shim, "/load"))["server_load"])
