"""Rate limits of keys: requests and tokens per minute, requests at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from qwen_triton_openai.middleware.keys import digest_of
from qwen_triton_openai.middleware.rate_limit import RateBucket, duration
from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection, ask, status, until, with_app
from tests.support.fake_triton import FakeTriton, chat_body, cut, shim_client
from tests.support.shim_requests import CHAT, OTHER, WITH_KEY, chat, error


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


def test_a_key_has_so_many_at_once(keys: Path) -> None:
    """429 while one runs, and free again when it has ended, however it ended."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        def connect() -> Connection:
            connection = Connection(CHAT, chat_body())
            connection.scope["headers"].append((b"authorization", f"Bearer {OTHER}".encode()))  # type: ignore[attr-defined]
            return connection

        first, second, third = connect(), connect(), connect()
        running = asyncio.create_task(ask(app, first))
        await until(lambda: len(triton.sent) == 1)
        await ask(app, second)
        assert status(second) == 429
        assert b"concurrency_limit_exceeded" in second.sent[1]["body"]
        first.leave()
        await running
        running = asyncio.create_task(ask(app, third))
        await until(lambda: len(triton.sent) == 2)
        third.leave()
        await running

    asyncio.run(with_app(ShimSettings(api_keys_file=keys), triton, story))


def test_a_cut_answer_is_charged_for_what_came() -> None:
    """A piece is a token or more; nobody evades a limit by leaving before the end."""
    said = [p for p in cut("hello", 1) if p.finish is None]
    triton = FakeTriton(said, endless=True)

    async def story(app: Any) -> None:
        first, second = Connection(CHAT, chat_body(stream=True)), Connection(CHAT, chat_body())
        running = asyncio.create_task(ask(app, first))
        await until(lambda: triton.generations and not triton.generations[0]._said)
        first.leave()
        await running
        await ask(app, second)
        assert status(second) == 429

    asyncio.run(with_app(ShimSettings(tokens_per_minute=4), triton, story))


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


def test_a_request_of_several_sequences_counts_as_so_many(keys: Path) -> None:
    """Against requests per minute and requests at once; more than a key may have at once is its caller's fault."""
    with shim_client(requests_per_minute=8) as client:
        three = client.post(CHAT, json=chat_body(n=3))
        assert three.headers["x-ratelimit-remaining-requests"] == "5"
        assert client.post("/v1/completions", json={"model": "qwen", "prompt": ["a", "b"], "n": 4}).status_code == 200
        assert error(chat(client)) == (429, "requests", "rate_limit_exceeded")
    with shim_client(api_keys_file=keys, concurrency=2) as client:
        assert client.post(CHAT, json=chat_body(n=2), headers=WITH_KEY).status_code == 200
        refused = client.post(CHAT, json=chat_body(n=3), headers=WITH_KEY)
        assert error(refused) == (400, "invalid_request_error", "invalid_value")
        assert "3 sequences; this key may have 2 at once" in refused.json()["error"]["message"]
        assert client.post(CHAT, json=chat_body(n=2), headers=WITH_KEY).status_code == 200
