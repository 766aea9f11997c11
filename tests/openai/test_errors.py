"""Every path of the shim answers a fault in OpenAI's shape, with OpenAI's status."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_triton import FakeTriton, chat_body, shim_client

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def check_shape(body: Any) -> dict[str, Any]:
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    found: dict[str, Any] = body["error"]
    return found


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("POST", "/v1/embeddings", 404, "unknown_url"),
        ("GET", CHAT, 405, "method_not_supported"),
        ("DELETE", "/v1/models", 405, "method_not_supported"),
        ("POST", "/health", 405, "method_not_supported"),
        ("GET", "/v1/models/preprocessing", 404, "model_not_found"),
        ("GET", "/v1/models/a/b", 404, "model_not_found"),
    ],
)
def test_the_framework_s_own_faults(method: str, path: str, status: int, code: str) -> None:
    """Unknown paths and methods."""
    with shim_client() as client:
        reply = client.request(method, path)
    assert (reply.status_code, check_shape(reply.json())["code"]) == (status, code)
    assert (status == 405) == ("allow" in reply.headers)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/detokenize"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"null", b'"text"', b"{}", b'{"a": NaN}', b"\xff\xfe", b'{"model": "\\ud800"}',
     b"[" * 100_000, b'{"prompt": "a", "max_tokens": 1e400}'],
)  # fmt: skip
def test_bodies_that_are_no_request(path: str, content: bytes) -> None:
    """Not JSON, no object, nothing in it, bytes that are no text, endless nesting: 400, never 500."""
    with shim_client() as client:
        reply = client.post(path, content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    check_shape(reply.json())


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_an_unknown_model(path: str) -> None:
    """404 as OpenAI has it, with the names there are; Triton's other models are none of them."""
    for name in ("gpt-4", "preprocessing", "tensorrt_llm_bls", ""):
        body = {"model": name, "prompt": "a"} if path == COMPLETIONS else chat_body(model=name)
        with shim_client() as client:
            reply = client.post(path, json=body)
        fault = check_shape(reply.json())
        assert (reply.status_code, fault["param"], fault["code"]) == (404, "model", "model_not_found")
        assert "qwen" in fault["message"]


def test_a_bug_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    """500 in OpenAI's shape; the trace is in our log only."""
    with shim_client(FakeTriton([ValueError("secret detail")])) as client:
        reply = client.post(CHAT, json=chat_body())
    assert (reply.status_code, check_shape(reply.json())["type"]) == (500, "server_error")
    assert "secret" not in reply.text
    assert "secret detail" in caplog.text
