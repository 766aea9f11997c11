"""Request ids, and the response to an unexpected exception."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.fake_triton import FakeTriton, chat_body, shim_client
from tests.support.shim_requests import CHAT, chat


def test_request_ids_are_echoed_and_handed_on() -> None:
    """The caller's own where it is a decent one, else ours; on errors as well."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        assert chat(client, **{"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
        assert re.fullmatch("mine-1-[0-9a-f]{8}", triton.headed[-1][0])
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


@pytest.mark.parametrize("path", [f"/{CHAT}", f"{CHAT}/", "/v1///chat//completions//"])
def test_keys_and_limits_see_one_spelling_of_a_path(keys: Path, path: str) -> None:
    """No slash leads around the key; what is logged is the path that was served."""
    with shim_client(api_keys_file=keys) as client:
        assert client.post(f"http://testserver{path}", json=chat_body()).status_code == 401
        assert client.get("http://testserver//health/").status_code == 200
        assert f'path="{CHAT}",status="401"' in client.get("/metrics").text
