"""Endpoints /version, /ping and /load."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from qwen_triton_openai.middleware.drain import Drain
from tests.support.fake_triton import FakeTriton, shim_client
from tests.support.shim_requests import SECRET, WITH_KEY


def test_the_version_is_the_package_s() -> None:
    """As pip says it."""
    with shim_client() as client:
        assert client.get("/version").json() == {"version": version("qwen-triton")}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping_is_readiness(method: str) -> None:
    """A model that makes no token cannot be used."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        assert client.request(method, "/ping").status_code == 200
        triton.up = False
        assert client.request(method, "/ping").status_code == 503


def test_the_load_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests under /v1."""
    with shim_client() as client:
        assert client.get("/load").json() == {"server_load": 0}
        monkeypatch.setattr(Drain, "in_flight", 3)
        assert client.get("/load").json() == {"server_load": 3}


def test_only_ping_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load balancers have none; what the server is and does is for its users."""
    monkeypatch.setenv("QWEN_TRITON_API_KEYS", f"team={SECRET}")
    with shim_client() as client:
        assert client.get("/ping").status_code == 200
        assert {client.get(path).status_code for path in ("/version", "/load", "/tokenizer_info")} == {401}
        assert client.get("/load", headers=WITH_KEY).status_code == 200
