"""Endpoint GET /v1/models."""

from __future__ import annotations

from tests.support.fake_triton import completion_body, shim_client


def test_only_what_may_be_asked_for_is_listed() -> None:
    """Names of the settings, none of Triton's."""
    names = {"qwen3": "tensorrt_llm_bls", "alias": "tensorrt_llm_bls"}
    with shim_client(models=names) as client:
        found = client.get("/v1/models").json()
        one = client.get("/v1/models/alias").json()
        assert client.post("/v1/completions", json=completion_body(model="alias")).json()["model"] == "alias"
    assert (found["object"], [m["id"] for m in found["data"]]) == ("list", ["qwen3", "alias"])
    assert one == {"id": "alias", "object": "model", "created": one["created"], "owned_by": "qwen-triton"}
