"""HEAD is the head of what GET answers."""

from __future__ import annotations

import pytest

from tests.support.fake_triton import shim_client


@pytest.mark.parametrize(
    "path", ["/health", "/health/ready", "/v1/models", "/v1/models/qwen", "/", "/metrics", "/openapi.json"]
)
def test_every_path_that_takes_get_takes_head(path: str) -> None:
    """The same status, type and length, and no body."""
    with shim_client() as client:
        got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # which counts itself
        assert head.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/nothing", 404), ("/v1/chat/completions", 405), ("/v1/models/x", 404)]
)
def test_a_fault_has_no_body_either(path: str, status: int) -> None:
    with shim_client() as client:
        head = client.head(path)
    assert (head.status_code, head.content) == (status, b"")
