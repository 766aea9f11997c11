"""Endpoint GET /v1/models."""

from __future__ import annotations

import re

import numpy as np

from qwen_triton.errors import InvalidRequest, Unavailable
from tests.support.fake_triton import FakeTriton, chat_body, completion_body, shim_client


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


def test_adapters_are_models_of_their_own() -> None:
    """Listed with the model that they belong to; a request that names one is that model's, with the adapter's name."""
    triton = FakeTriton()
    with shim_client(triton, models={"qwen3": "tensorrt_llm_bls"}, adapters={"team/pirate": "qwen3"}) as client:
        found = {m["id"]: m for m in client.get("/v1/models").json()["data"]}
        assert client.get("/v1/models/team/pirate").json() == found["team/pirate"]
        for body in (completion_body(model="team/pirate"), completion_body(model="qwen3")):
            assert client.post("/v1/completions", json=body).json()["model"] == body["model"]
        assert client.post("/v1/chat/completions", json=chat_body(model="team/pirate")).status_code == 200
        other = client.post("/v1/completions", json=completion_body(model="pirate"))
        metrics = client.get("/metrics").text
    assert list(found) == ["qwen3", "team/pirate"]
    assert (found["team/pirate"]["root"], found["team/pirate"]["parent"]) == ("qwen3", "qwen3")
    assert "parent" not in found["qwen3"]
    assert [one.lora_name for one in triton.sent] == ["team/pirate", None, "team/pirate"]
    assert (other.status_code, other.json()["error"]["message"]) == (
        404,
        "The model 'pirate' does not exist; served here: qwen3, team/pirate",
    )
    counted = re.findall(r'qwen_triton_openai_completion_tokens_total\{[^}]*model="team/pirate"[^}]*\} (\S+)', metrics)
    assert [float(value) for value in counted] == [6.0]


def test_an_adapter_that_the_engine_does_not_have_is_a_fault_of_the_model_s_name() -> None:
    triton = FakeTriton([InvalidRequest("no adapter has this name; there are poet", "lora_name")])
    with shim_client(triton, adapters={"pirate": "qwen"}) as client:
        reply = client.post("/v1/completions", json=completion_body(model="pirate"))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")
