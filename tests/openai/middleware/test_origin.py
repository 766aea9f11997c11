"""A page of another site gets nothing done: its browser names the site in every POST, and such a POST is refused."""

from __future__ import annotations

import pytest

from qwen_triton_openai.middleware.origin import is_same_host
from tests.support.fake_triton import FakeTriton, chat_body, shim_client
from tests.support.shim_requests import CHAT, chat, error

OURS = "http://testserver"
FOREIGN = "https://evil.example"
PATHS = (CHAT, "/v1/completions", "/tokenize", "/detokenize", "/v1/models", "/health", "/metrics", "/", "/nothing")
REFUSED = (403, "invalid_request_error", "origin_not_allowed")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_foreign_page_is_refused_on_every_path(path: str, kind: str) -> None:
    """A text/plain POST is one that a browser sends without asking first; no model is asked."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        reply = client.post(path, json=chat_body(), headers={"Origin": FOREIGN, "Content-Type": kind})
    assert error(reply) == REFUSED
    message = "Pages of 'https://evil.example' may not send requests to this server; its operator can add them to "
    assert reply.json()["error"]["message"] == message + "openai.cors_origins"
    assert triton.sent == []


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://testserver.evil.example", "http://evil.example/testserver", "file://", "app://testserver",
     "http://testserver:9000", "http://user@testserver", "http://TESTSERVER evil", "testserver"],
)  # fmt: skip
def test_what_only_looks_like_ours_is_refused(origin: str) -> None:
    with shim_client() as client:
        assert error(chat(client, Origin=origin)) == REFUSED


def test_a_long_origin_is_not_repeated_whole() -> None:
    with shim_client() as client:
        message = chat(client, Origin="https://" + "a" * 5000).json()["error"]["message"]
    assert message.startswith("Pages of 'https://aaa")
    assert len(message) < 250


def test_our_own_page_and_programs_are_answered() -> None:
    """The chat page's origin is the address that it is read from; programs send none."""
    with shim_client() as client:
        assert chat(client).status_code == 200
        assert chat(client, Origin=OURS).status_code == 200
        assert chat(client, Origin="https://testserver").status_code == 200
        assert chat(client, Origin="https://chat.example", Host="chat.example").status_code == 200


def test_a_page_that_is_only_read_needs_no_origin_of_ours() -> None:
    """A GET does no work, and without CORS the page cannot read the answer."""
    with shim_client() as client:
        reply = client.get("/v1/models", headers={"Origin": FOREIGN})
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_named_origins_are_answered_others_are_not() -> None:
    with shim_client(cors_origins=["https://app.example", "null"]) as client:
        assert chat(client, Origin="https://app.example").status_code == 200
        assert chat(client, Origin="null").status_code == 200
        assert error(chat(client, Origin=FOREIGN)) == REFUSED
    with shim_client(cors_origins=["*"]) as client:
        assert chat(client, Origin=FOREIGN).status_code == 200


def test_one_foreign_origin_among_several_is_enough() -> None:
    with shim_client() as client:
        both = [("Origin", OURS), ("Origin", FOREIGN)]
        assert error(client.post(CHAT, json=chat_body(), headers=both)) == REFUSED


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:9000", "localhost:9000", True),
        ("http://LocalHost:9000", "localhost:9000", True),
        ("http://[::1]:9000", "[::1]:9000", True),
        ("http://a.example", "a.example:80", True),
        ("https://a.example", "a.example:443", True),
        ("https://a.example:443", "a.example", True),
        ("http://a.example:443", "a.example", False),
        ("http://localhost:9001", "localhost:9000", False),
        ("http://127.0.0.1:9000", "localhost:9000", False),
        ("http://", "", False),
        ("http://:80", ":80", False),
    ],
)
def test_host_and_port_make_it_the_same(origin: str, host: str, same: bool) -> None:
    assert is_same_host(origin, host) is same
