"""The shim's gates in front of a server that says what it is told: keys, limits, the line, what is told of it all."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from qwen_triton.errors import ConfigurationError
from qwen_triton_openai.app import create_app
from qwen_triton_openai.middleware.keys import digest_of
from qwen_triton_openai.middleware.queue import QueueFull, WaitQueue
from qwen_triton_openai.middleware.rate_limit import RateBucket, duration
from qwen_triton_openai.settings import ShimSettings, check_certificate
from tests.openai.answers.test_disconnect import Connection
from tests.support.fake_triton import FakeTriton, answer, chat_body, completion_body, cut, shim_client

CHAT = "/v1/chat/completions"
SECRET = "sk-" + "a" * 43
OTHER = "sk-" + "b" * 43
WITH_KEY = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"alice sha256:{digest_of(SECRET)}\nbob sha256:{digest_of(OTHER)} concurrency=1\n")
    return file


def chat(client: TestClient, **headers: str) -> httpx.Response:
    return client.post(CHAT, json=chat_body(), headers=headers)


def error(reply: httpx.Response) -> tuple[int, str | None, str | None]:
    fault = reply.json()["error"]
    assert set(fault) == {"message", "type", "param", "code"}
    return reply.status_code, fault["type"], fault["code"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {SECRET}", f"Bearer {SECRET}x"])
def test_without_a_key_nobody_asks_a_model(keys: Path, header: str | None) -> None:
    """401 as OpenAI says it, whatever is wrong; the key that was presented is not repeated."""
    triton = FakeTriton()
    with shim_client(triton, api_keys_file=keys) as client:
        reply = chat(client, **({"Authorization": header} if header is not None else {}))
    assert error(reply) == (401, "invalid_request_error", "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "wrong" not in reply.text
    assert triton.asked == []


def test_with_a_key_everything_is_open(keys: Path) -> None:
    """The scheme in any case, as HTTP has it."""
    with shim_client(api_keys_file=keys) as client:
        assert chat(client, Authorization=f"bearer {SECRET}").status_code == 200
        assert client.get("/v1/models", headers=WITH_KEY).status_code == 200


def test_what_needs_no_key(keys: Path) -> None:
    """Health, documents, the chat page, and metrics unless they were closed."""
    paths = ("/", "/health", "/docs", "/openapi.json", "/metrics")
    with shim_client(api_keys_file=keys) as client:
        assert [client.get(path).status_code for path in paths] == [200] * len(paths)
        closed = ("/v1/models", "/tokenize", "/nothing", "//v1/models", "/health/")
        assert [client.get(path).status_code for path in closed] == [401] * len(closed)
    with shim_client(api_keys_file=keys, metrics_need_key=True) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=WITH_KEY).status_code == 200


def test_requests_per_minute() -> None:
    """The one too many is refused with the time to wait; the headers count down as OpenAI's do."""
    with shim_client(requests_per_minute=2) as client:
        replies = [chat(client) for _ in range(3)]
    assert [r.status_code for r in replies] == [200, 200, 429]
    assert [r.headers["x-ratelimit-remaining-requests"] for r in replies] == ["1", "0", "0"]
    assert {r.headers["x-ratelimit-limit-requests"] for r in replies} == {"2"}
    assert error(replies[2]) == (429, "requests", "rate_limit_exceeded")
    assert 25 <= int(replies[2].headers["retry-after"]) <= 30


def test_tokens_per_minute() -> None:
    """Eight tokens an answer: the first overdraws the minute, the second has to wait."""
    with shim_client(tokens_per_minute=4) as client:
        first, second = chat(client), chat(client)
    assert first.status_code == 200
    assert error(second) == (429, "tokens", "rate_limit_exceeded")
    assert second.headers["x-ratelimit-remaining-tokens"] == "0"
    assert 60 <= int(second.headers["retry-after"]) <= 75


def test_streamed_tokens_count_as_well() -> None:
    """From the counts of the last piece, whether the client asked for usage or not."""
    with shim_client(FakeTriton(cut("hello", 1)), tokens_per_minute=4) as client:
        assert client.post(CHAT, json=chat_body(stream=True)).status_code == 200
        assert chat(client).status_code == 429


def test_a_key_s_own_limits_go_before_the_deployment_s(keys: Path) -> None:
    """And one key's use is not another's."""
    keys.write_text(keys.read_text() + f"eve sha256:{digest_of('e' * 30)} requests_per_minute=1\n")
    with shim_client(api_keys_file=keys, requests_per_minute=2) as client:
        eve = [chat(client, Authorization=f"Bearer {'e' * 30}").status_code for _ in range(2)]
        alice = [chat(client, **WITH_KEY).status_code for _ in range(3)]
    assert (eve, alice) == ([200, 429], [200, 200, 429])


def test_a_bucket_fills_evenly_and_from_below_nothing() -> None:
    """60 a minute is one a second; an overdraft of 30 takes 30 s and one more for the next."""
    now = 0.0
    bucket = RateBucket(60, lambda: now)
    bucket.take(90)
    assert (bucket.left, bucket.wait_s(), bucket.reset_s()) == (0, 31.0, 90.0)
    now = 31.0
    assert (bucket.left, bucket.wait_s()) == (1, 0.0)
    now = 1000.0
    assert (bucket.left, bucket.reset_s()) == (60, 0.0)


def test_durations_are_written_as_openai_does() -> None:
    """Milliseconds, seconds, minutes."""
    assert [duration(s) for s in (0, 0.02, 1.5, 59.94, 360)] == ["0ms", "20ms", "1.5s", "60s", "6m0s"]


@pytest.mark.parametrize("told", [True, False])
def test_a_body_has_a_limit(told: bool) -> None:
    """413, also where the length is not told beforehand; one that just fits passes."""
    body = json.dumps(chat_body()).encode()
    chunks = body if told else iter([body[:10], body[10:]])
    with shim_client(max_body_bytes=len(body) - 1) as client:
        reply = client.post(CHAT, content=chunks)
        assert error(reply) == (413, "invalid_request_error", "request_too_large")
    with shim_client(max_body_bytes=len(body)) as client:
        assert client.post(CHAT, content=body).status_code == 200


def test_a_body_without_an_end_is_refused_while_it_comes() -> None:
    """Reading stops at the limit."""
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        assert read < 50
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    connection = Connection(CHAT, {})

    async def story(app: Any) -> None:
        await app(connection.scope, receive, connection.send)

    asyncio.run(_with_app(ShimSettings(max_body_bytes=25), FakeTriton(), story))
    assert (_status(connection), read) == (413, 3)


def test_messages_have_a_limit() -> None:
    """400, naming them."""
    messages = [{"role": "user", "content": "hi"}] * 3
    with shim_client(max_messages=2) as client:
        reply = client.post(CHAT, json=chat_body(messages=messages))
    assert error(reply) == (400, "invalid_request_error", "too_many_messages")
    assert reply.json()["error"]["param"] == "messages"


async def _ask(app: Any, connection: Connection) -> None:
    await asyncio.wait_for(app(connection.scope, connection.receive, connection.send), 10)


def _status(connection: Connection) -> int:
    return int(connection.sent[0]["status"]) if connection.sent else 0


async def _until(holds: Any) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("did not come to pass")


async def _with_app(settings: ShimSettings, triton: FakeTriton, story: Any) -> None:
    app = create_app(settings, lambda _: triton)
    async with app.router.lifespan_context(app):
        await story(app)


def test_the_line_is_bounded_and_first_come_first_served() -> None:
    """One generates, one waits, the third is refused at once; the second's turn comes when the first leaves."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, second, third = (Connection(CHAT, chat_body()) for _ in range(3))
        running = asyncio.create_task(_ask(app, first))
        await _until(lambda: len(triton.asked) == 1)
        waiting = asyncio.create_task(_ask(app, second))
        await asyncio.sleep(0.02)
        await _ask(app, third)
        assert _status(third) == 503
        assert dict(third.sent[0]["headers"])[b"retry-after"] == b"1"
        assert b"overloaded" in third.sent[1]["body"]
        assert len(triton.asked) == 1
        first.leave()
        await running
        await _until(lambda: len(triton.asked) == 2)
        second.leave()
        await waiting

    asyncio.run(_with_app(ShimSettings(max_in_flight=1, max_queued=1), triton, story))
    assert all(g.cancelled for g in triton.generations)


def test_who_leaves_the_line_makes_room() -> None:
    """And is never sent to the model."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, gone, third = (Connection(CHAT, chat_body()) for _ in range(3))
        tasks = [asyncio.create_task(_ask(app, first))]
        await _until(lambda: len(triton.asked) == 1)
        waiting = asyncio.create_task(_ask(app, gone))
        await asyncio.sleep(0.02)
        gone.leave()
        await waiting
        tasks.append(asyncio.create_task(_ask(app, third)))
        await asyncio.sleep(0.02)
        assert _status(third) == 0
        first.leave()
        await _until(lambda: len(triton.asked) == 2)
        third.leave()
        await asyncio.gather(*tasks)

    asyncio.run(_with_app(ShimSettings(max_in_flight=1, max_queued=1), triton, story))
    assert len(triton.asked) == 2


def test_waiting_has_an_end() -> None:
    """503 when no turn came."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, second = (Connection(CHAT, chat_body()) for _ in range(2))
        running = asyncio.create_task(_ask(app, first))
        await _until(lambda: len(triton.asked) == 1)
        await _ask(app, second)
        assert _status(second) == 503
        assert b"no turn came" in second.sent[1]["body"]
        first.leave()
        await running

    asyncio.run(_with_app(ShimSettings(max_in_flight=1, queue_timeout_s=0.05), triton, story))


def test_a_key_has_so_many_at_once(keys: Path) -> None:
    """429 while one runs, and free again when it has ended, however it ended."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        def ask() -> Connection:
            connection = Connection(CHAT, chat_body())
            connection.scope["headers"].append((b"authorization", f"Bearer {OTHER}".encode()))  # type: ignore[attr-defined]
            return connection

        first, second, third = ask(), ask(), ask()
        running = asyncio.create_task(_ask(app, first))
        await _until(lambda: len(triton.asked) == 1)
        await _ask(app, second)
        assert _status(second) == 429
        assert b"concurrency_limit_exceeded" in second.sent[1]["body"]
        first.leave()
        await running
        running = asyncio.create_task(_ask(app, third))
        await _until(lambda: len(triton.asked) == 2)
        third.leave()
        await running

    asyncio.run(_with_app(ShimSettings(api_keys_file=keys), triton, story))


def test_a_wait_queue_hands_places_on_in_order() -> None:
    """A place that is given back goes to the first who waits."""

    async def story() -> None:
        queue = WaitQueue(1, 2)
        first, second, third = queue.enter(), queue.enter(), queue.enter()
        with pytest.raises(QueueFull):
            queue.enter()
        assert (first.done(), second.done(), queue.length) == (True, False, 2)
        queue.leave(second)
        queue.leave(first)
        assert (third.done(), queue.in_flight, queue.length) == (True, 1, 0)
        queue.leave(third)
        assert queue.in_flight == 0
        assert WaitQueue(0, 0).enter().done()

    asyncio.run(story())


def test_cors_is_off_unless_set() -> None:
    """Then for the named origins only, preflights without a key."""
    ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with shim_client() as client:
        assert "access-control-allow-origin" not in chat(client, Origin="https://a.example").headers
    with shim_client(cors_origins=["https://a.example"]) as client:
        assert chat(client, Origin="https://a.example").headers["access-control-allow-origin"] == "https://a.example"
        assert "access-control-allow-origin" not in chat(client, Origin="https://b.example").headers
        asked = {**ask, "Access-Control-Request-Headers": "authorization,content-type"}
        assert client.options(CHAT, headers=asked).status_code == 200


def test_preflights_need_no_key(keys: Path) -> None:
    """A browser sends none with them."""
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with shim_client(api_keys_file=keys, cors_origins=["https://a.example"]) as client:
        assert client.options(CHAT, headers=headers).status_code == 200
        reply = chat(client, Origin="https://a.example")
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (401, "https://a.example")


def test_request_ids_are_echoed_and_handed_on() -> None:
    """The caller's own where it is a decent one, else ours; on errors as well."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        assert chat(client, **{"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
        assert triton.headed[-1][0] == "mine-1"
        for bad in ("x" * 200, "a b", 'a"}\\n{"'):
            given = chat(client, **{"X-Request-Id": bad}).headers["x-request-id"]
            assert given.startswith("req-")
        assert client.get("/nothing", headers={"X-Request-Id": "mine-2"}).headers["x-request-id"] == "mine-2"


def test_an_unexpected_failure_has_an_id_and_no_trace() -> None:
    """The log has the cause."""
    triton = FakeTriton([RuntimeError("secret detail")])
    with shim_client(triton) as client:
        reply = chat(client, **{"X-Request-Id": "mine"})
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] == "mine"
    assert "secret detail" not in reply.text


def test_the_access_log_is_json_without_secrets(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, what, how it ended and what it cost; the key's name and not the key, no prompt, no query."""
    with shim_client(FakeTriton([answer("hello")]), api_keys_file=keys) as client:
        client.post(CHAT + "?token=hidden", json=chat_body(), headers={**WITH_KEY, "X-Request-Id": "mine"})
        chat(client, Authorization=f"Bearer {OTHER}x")
    text = capsys.readouterr().out
    first, second = (json.loads(line) for line in text.splitlines())
    named = {k: first[k] for k in ("request_id", "key", "method", "path", "status", "model", "stream")}
    assert named == {
        "request_id": "mine", "key": "alice", "method": "POST", "path": CHAT, "status": 200, "model": "qwen", "stream": False,
    }  # fmt: skip
    assert (first["prompt_tokens"], first["completion_tokens"]) == (5, 3)
    assert first["duration_ms"] >= first["first_token_ms"] >= 0
    assert (second["status"], second["key"], "model" in second) == (401, "-", False)
    for secret in (SECRET, OTHER, "hidden", digest_of(SECRET), '"hi"'):
        assert secret not in text


def test_the_access_log_has_what_a_caller_says_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """`user` and `metadata`, of both endpoints, where they were given."""
    notes = {"user": "u-1", "metadata": {"team": "好"}}
    with shim_client(FakeTriton([answer("hello")])) as client:
        client.post(CHAT, json=chat_body(**notes))
        client.post("/v1/completions", json={"model": "qwen", "prompt": "hi", "user": "u-2"})
        client.post(CHAT, json=chat_body())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [{name: line[name] for name in ("user", "metadata") if name in line} for line in lines]
    assert found == [notes, {"user": "u-2"}, {}]


def metrics(client: TestClient) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_metrics_count_by_model_and_key(keys: Path) -> None:
    """Requests by status, tokens, first token, gaps, whole answers; the labels hold names only."""
    said = [*cut("hello", 1)]
    with shim_client(FakeTriton(said), api_keys_file=keys) as client:
        client.post(CHAT, json=chat_body(stream=True), headers=WITH_KEY)
        client.post(CHAT, json=chat_body(model="nobody's"), headers=WITH_KEY)
        client.get("/../../etc/passwd", headers=WITH_KEY)
        chat(client)
        found = metrics(client)
        text = client.get("/metrics").text
    who = 'key="alice",model="qwen"'
    name = "qwen_triton_openai_"
    assert found[f'{name}requests_total{{{who},path="{CHAT}",status="200"}}'] == 1
    assert found[f'{name}requests_total{{key="alice",model="",path="{CHAT}",status="404"}}'] == 1
    assert found[f'{name}requests_total{{key="-",model="",path="{CHAT}",status="401"}}'] == 1
    assert found[f"{name}prompt_tokens_total{{{who}}}"] == 5
    assert found[f"{name}completion_tokens_total{{{who}}}"] == 3
    assert found[f"{name}time_to_first_token_seconds_count{{{who}}}"] == 1
    assert found[f"{name}inter_token_seconds_count{{{who}}}"] == len(said) - 1
    assert found[f"{name}request_seconds_count{{{who}}}"] == 1
    assert found[f"{name}queue_length"] == 0
    for secret in (SECRET, digest_of(SECRET), "nobody's", "passwd"):
        assert secret not in text


def test_gauges_show_who_runs_and_who_waits() -> None:
    """While they do."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, second = (Connection(CHAT, chat_body()) for _ in range(2))
        tasks = [asyncio.create_task(_ask(app, first))]
        await _until(lambda: len(triton.asked) == 1)
        tasks.append(asyncio.create_task(_ask(app, second)))
        await asyncio.sleep(0.02)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            text = (await client.get("/metrics")).text
        assert 'qwen_triton_openai_in_flight{key="-",model="qwen"} 1.0' in text
        assert "qwen_triton_openai_queue_length 1.0" in text
        second.leave()
        first.leave()
        await asyncio.gather(*tasks)

    asyncio.run(_with_app(ShimSettings(max_in_flight=1), triton, story))


def test_a_cut_answer_is_charged_for_what_came() -> None:
    """A piece is a token or more; nobody evades a limit by leaving before the end."""
    said = [p for p in cut("hello", 1) if p.finish is None]
    triton = FakeTriton(said, endless=True)

    async def story(app: Any) -> None:
        first, second = Connection(CHAT, chat_body(stream=True)), Connection(CHAT, chat_body())
        running = asyncio.create_task(_ask(app, first))
        await _until(lambda: triton.generations and not triton.generations[0]._said)
        first.leave()
        await running
        await _ask(app, second)
        assert _status(second) == 429

    asyncio.run(_with_app(ShimSettings(tokens_per_minute=4), triton, story))


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_caller_s_trace_is_handed_on_to_triton() -> None:
    """Without OpenTelemetry as it came; what is no traceparent is not."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        chat(client, traceparent=PARENT)
        chat(client, traceparent="nonsense")
    assert [metadata for _, metadata in triton.headed] == [(("traceparent", PARENT),), ()]


def test_spans_join_the_caller_s_trace(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    """One span a request to the API, its id handed on to Triton; health and metrics make none."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from qwen_triton_openai.middleware import tracing

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_provider", lambda _: provider)
    triton = FakeTriton()
    with shim_client(triton, otlp_endpoint="http://x/v1/traces", api_keys_file=keys) as client:
        client.get("/health")
        chat(client, **WITH_KEY, traceparent=PARENT)
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    handed = dict(triton.headed[0][1])  # type: ignore[call-overload]
    assert handed == {"traceparent": f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"}
    attributes = dict(span.attributes or {})
    assert {k: attributes[k] for k in ("gen_ai.request.model", "gen_ai.usage.output_tokens", "qwen_triton.key")} == {
        "gen_ai.request.model": "qwen", "gen_ai.usage.output_tokens": 3, "qwen_triton.key": "alice",
    }  # fmt: skip
    assert SECRET not in str(attributes)


def test_the_page_is_one_file_without_outside_resources() -> None:
    """Its policy would forbid them; it can be left out."""
    with shim_client() as client:
        page = client.get("/")
        assert client.post("/v1/completions", json=completion_body()).status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    with shim_client(chat_page=False) as client:
        assert client.get("/").status_code == 404


def test_certificates_are_checked_before_the_start(tmp_path: Path) -> None:
    """One line for a file that is not there or is none, and for a key without a certificate."""
    (tmp_path / "c.pem").write_text("nonsense")
    for files, message in (
        ({"tls_key": tmp_path / "k.pem"}, "openai.tls_key: a key alone serves nothing"),
        (
            {"tls_certificate": tmp_path / "none.pem"},
            r"openai.tls_certificate: .*none\.pem cannot be used: No such file",
        ),
        ({"tls_certificate": tmp_path / "c.pem"}, r"openai.tls_certificate: .*c\.pem cannot be used"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_certificate(ShimSettings(**files))
    check_certificate(ShimSettings())


def test_the_log_goes_where_it_is_told() -> None:
    """A stream of one's own."""
    from qwen_triton_openai.middleware.access_log import AccessLog
    from qwen_triton_openai.middleware.observe import RequestRecord

    out = io.StringIO()
    with AccessLog(out).watch(RequestRecord("i", "GET", "/"), {"type": "http"}):
        assert out.getvalue() == ""
    assert json.loads(out.getvalue())["request_id"] == "i"
