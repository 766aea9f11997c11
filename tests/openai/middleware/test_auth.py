"""Authentication: who needs a key, and what a request without a valid one is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_triton import FakeTriton, shim_client
from tests.support.shim_requests import SECRET, WITH_KEY, chat, error


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {SECRET}", f"Bearer {SECRET}x"])
def test_without_a_key_nobody_asks_a_model(keys: Path, header: str | None) -> None:
    """401 as OpenAI says it, whatever is wrong; the key that was presented is not repeated."""
    triton = FakeTriton()
    with shim_client(triton, api_keys_file=keys) as client:
        reply = chat(client, **({"Authorization": header} if header is not None else {}))
    assert error(reply) == (401, "invalid_request_error", "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "wrong" not in reply.text
    assert triton.sent == []


def test_with_a_key_everything_is_open(keys: Path) -> None:
    """The scheme in any case, as HTTP has it."""
    with shim_client(api_keys_file=keys) as client:
        assert chat(client, Authorization=f"bearer {SECRET}").status_code == 200
        assert client.get("/v1/models", headers=WITH_KEY).status_code == 200


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "Api-Key"])
def test_a_key_may_come_in_the_headers_of_other_apis(keys: Path, name: str) -> None:
    """Anthropic's and Azure's clients send it there; a wrong one is wrong there too."""
    with shim_client(api_keys_file=keys) as client:
        assert chat(client, **{name: SECRET}).status_code == 200
        assert error(chat(client, **{name: SECRET + "x"}))[0] == 401
        assert error(chat(client, **{name: ""}))[0] == 401


def test_authorization_goes_before_other_headers(keys: Path) -> None:
    """A client that sends both means the one that OpenAI's API has."""
    with shim_client(api_keys_file=keys) as client:
        assert chat(client, Authorization="Bearer wrong", **{"x-api-key": SECRET}).status_code == 401
        assert chat(client, Authorization=f"Bearer {SECRET}", **{"x-api-key": "wrong"}).status_code == 200


def test_what_needs_no_key(keys: Path) -> None:
    """Health, documents, the chat page, and metrics unless they were closed."""
    paths = ("/", "/health", "/health/", "/docs", "/openapi.json", "/metrics")
    with shim_client(api_keys_file=keys) as client:
        assert [client.get(path).status_code for path in paths] == [200] * len(paths)
        closed = ("/v1/models", "/tokenize", "/nothing", "//v1/models", "/v1/models/", "/health/x")
        assert [client.get(path).status_code for path in closed] == [401] * len(closed)
    with shim_client(api_keys_file=keys, metrics_need_key=True) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=WITH_KEY).status_code == 200
