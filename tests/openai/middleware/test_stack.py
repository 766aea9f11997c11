"""Order of the middleware: CORS before authentication."""

from __future__ import annotations

from pathlib import Path

from tests.support.fake_triton import shim_client
from tests.support.shim_requests import CHAT, chat


def test_cors_is_off_unless_set() -> None:
    """Then for the named origins only, preflights without a key."""
    ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with shim_client() as client:
        assert "access-control-allow-origin" not in chat(client, Origin="https://a.example").headers
    with shim_client(cors_origins=["https://a.example"]) as client:
        assert chat(client, Origin="https://a.example").headers["access-control-allow-origin"] == "https://a.example"
        assert "access-control-allow-origin" not in chat(client, Origin="https://b.example").headers
        sent = {**ask, "Access-Control-Request-Headers": "authorization,content-type"}
        assert client.options(CHAT, headers=sent).status_code == 200


def test_preflights_need_no_key(keys: Path) -> None:
    """A browser sends none with them."""
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with shim_client(api_keys_file=keys, cors_origins=["https://a.example"]) as client:
        assert client.options(CHAT, headers=headers).status_code == 200
        reply = chat(client, Origin="https://a.example")
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (401, "https://a.example")
