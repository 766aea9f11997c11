"""Endpoint GET /v1/models."""

from __future__ import annotations

import numpy as np

from qwen_triton.errors import Unavailable
from tests.support.fake_triton import FakeTriton, completion_body, shim_client


def test_only_what_may_be_asked_for_is_listed() -> None:
    """Names of the settings, none of Triton's."""
    names = {"qwen3": "tensorrt_llm_bls", "alias": "tensorrt_llm_bls"}
    with shim_client(models=names) as client:
        found = client.get("/v1/models").json()
        one = client.get("/v1/models/alias").json()
        assert client.post("/v1/completions", json=completion_body(model="alias")).json()["model"] == "alias"
    assert (found["object"], [m["id"] for m in found["data"]]) == ("list", ["qwen3", "alias"])
    assert one == {"id": "alias", "object": "model", "created": one["created"], "owned_by": "qwen-triton"}


def test_the_context_is_told_once_it_is_known() -> None:
    """vLLM's max_model_len: left out while Triton is away, then asked for once."""
    triton = FakeTriton()
    triton.infers = Unavailable("not yet")
    with shim_client(triton) as client:
        assert "max_model_len" not in client.get("/v1/models/qwen").json()
        triton.infers = {
            "INPUT_ID": np.array([64], np.int32).tobytes(),
            "REQUEST_OUTPUT_LEN": np.array([32_767], np.int32).tobytes(),
        }
        assert [m["max_model_len"] for m in client.get("/v1/models").json()["data"]] == [32_768]
        assert client.get("/v1/models/qwen").json()["max_model_len"] == 32_768
    assert [model for model, _ in triton.inferred] == ["preprocessing"] * 2
