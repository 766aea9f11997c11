"""Prometheus metrics: counted by model and key, gauges of now."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from qwen_triton_openai.middleware.keys import digest_of
from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection, ask, until, with_app
from tests.support.fake_triton import FakeTriton, chat_body, completion_body, cut, shim_client
from tests.support.shim_requests import CHAT, SECRET, WITH_KEY, chat


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


def test_requests_to_the_model_are_counted_by_their_way() -> None:
    """Each prompt is one; readiness's own and refused ones are none."""
    with shim_client(FakeTriton(ways=["local", "grpc", "local"])) as client:
        chat(client)
        client.post("/v1/completions", json=completion_body(prompt=["a", "b"]))
        chat(client)
        client.post(CHAT, json=chat_body(n=0))
        client.get("/health/ready")
        found = metrics(client)
    counts = {
        name: count for name, count in found.items() if name.startswith("qwen_triton_openai_model_requests_total")
    }
    assert counts == {
        'qwen_triton_openai_model_requests_total{model="qwen",way="local"}': 2,
        'qwen_triton_openai_model_requests_total{model="qwen",way="grpc"}': 2,
    }


def test_gauges_show_who_runs_and_who_waits() -> None:
    """While they do."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, second = (Connection(CHAT, chat_body()) for _ in range(2))
        tasks = [asyncio.create_task(ask(app, first))]
        await until(lambda: len(triton.sent) == 1)
        tasks.append(asyncio.create_task(ask(app, second)))
        await asyncio.sleep(0.02)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            text = (await client.get("/metrics")).text
        assert 'qwen_triton_openai_in_flight{key="-",model="qwen"} 1.0' in text
        assert "qwen_triton_openai_queue_length 1.0" in text
        second.leave()
        first.leave()
        await asyncio.gather(*tasks)

    asyncio.run(with_app(ShimSettings(max_in_flight=1), triton, story))
