"""The shim's service endpoints: models, health, readiness, tokens, the document; and how it leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import EngineError, InvalidRequest
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton_openai.endpoints.body import BODIES
from qwen_triton_openai.middleware.drain import Drain, DrainGate
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeTriton, answer, chat_body, completion_body, shim_client


def test_only_what_may_be_asked_for_is_listed() -> None:
    """Names of the settings, none of Triton's."""
    names = {"qwen3": "tensorrt_llm_bls", "alias": "tensorrt_llm_bls"}
    with shim_client(models=names) as client:
        found = client.get("/v1/models").json()
        one = client.get("/v1/models/alias").json()
        assert client.post("/v1/completions", json=completion_body(model="alias")).json()["model"] == "alias"
    assert (found["object"], [m["id"] for m in found["data"]]) == ("list", ["qwen3", "alias"])
    assert one == {"id": "alias", "object": "model", "created": one["created"], "owned_by": "qwen-triton"}


def test_readiness_asks_for_a_token_once_in_a_while() -> None:
    """The first time, and not again while tokens were seen lately."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        assert [client.get("/health/ready").status_code for _ in range(3)] == [200] * 3
    assert [(r.prompt, r.sampling.max_tokens) for r in triton.asked] == [("1", 1)]


def test_readiness_hears_the_answers_that_pass() -> None:
    """A model that answers users need not be asked."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        client.post("/v1/chat/completions", json=chat_body())
        assert client.get("/health/ready").status_code == 200
    assert len(triton.asked) == 1


@pytest.mark.parametrize(
    ("triton", "reason"),
    [
        (FakeTriton([EngineError("the engine is gone")]), "no token came"),
        (FakeTriton([], endless=True), "it took too long"),
    ],
)
def test_a_model_that_makes_no_token_is_not_ready(triton: FakeTriton, reason: str) -> None:
    """However healthy the server says it is; the process is alive all the same."""
    with shim_client(triton, probe_timeout_s=0.05) as client:
        reply = client.get("/health/ready")
        assert (client.get("/health").status_code, reply.status_code) == (200, 503)
    assert reason in reply.json()["error"]["message"]
    assert all(g.cancelled for g in triton.generations)


def test_a_server_that_is_not_ready_is_not_asked() -> None:
    """No probe goes to it."""
    triton = FakeTriton()
    triton.up = False
    with shim_client(triton) as client:
        assert client.get("/health/ready").status_code == 503
    assert triton.asked == []


def test_tokenize_a_text() -> None:
    """Ids, their number and the context, of the preprocessing model."""
    triton = FakeTriton()
    triton.infers = {
        "INPUT_ID": np.array([[9707, 1879]], np.int32).tobytes(),
        "REQUEST_OUTPUT_LEN": np.array([[98]], np.int32).tobytes(),
    }
    with shim_client(triton) as client:
        reply = client.post("/tokenize", json={"model": "qwen", "prompt": "Hello world"})
    assert reply.json() == {"count": 2, "max_model_len": 100, "tokens": [9707, 1879]}
    model, arrays = triton.inferred[0]
    assert (model, arrays["QUERY"].tolist(), arrays["PROMPT_FORMAT"].tolist()) == (
        "preprocessing", [[b"Hello world"]], [[b"raw"]],
    )  # fmt: skip


def test_tokenize_messages() -> None:
    """With all that the template takes."""
    triton = FakeTriton()
    triton.infers = {"INPUT_ID": b"", "REQUEST_OUTPUT_LEN": np.array([[9]], np.int32).tobytes()}
    body = {"messages": [{"role": "user", "content": "好"}], "add_generation_prompt": False, "tools": []}
    with shim_client(triton) as client:
        assert client.post("/tokenize", json=body).status_code == 200
    arrays = triton.inferred[0][1]
    assert arrays["MESSAGES"].tolist() == [['[{"role": "user", "content": "好"}]'.encode()]]
    assert arrays["CHAT_TEMPLATE_KWARGS"].tolist() == [[b'{"add_generation_prompt": false}']]


def test_detokenize() -> None:
    """The text of the postprocessing model; no ids have no text."""
    triton = FakeTriton()
    triton.infers = {"OUTPUT": b"\x06\x00\x00\x00" + "你好".encode()}
    with shim_client(triton) as client:
        assert client.post("/detokenize", json={"tokens": [108386]}).json() == {"prompt": "你好"}
        assert client.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}
    model, arrays = triton.inferred[0]
    assert (model, arrays["TOKENS_BATCH"].tolist(), len(triton.inferred)) == ("postprocessing", [[[108386]]], 1)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("/tokenize", {"prompt": "a", "tools": [{}]}, "messages"),
        ("/tokenize", {"prompt": "a", "return_offsets": True}, "return_offsets"),
        ("/tokenize", {"prompt": 3}, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "gpt-4"}, "model"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [1, "2"]}, "tokens[1]"),
    ],
)
def test_what_cannot_be_tokenized_is_named(path: str, body: dict[str, Any], param: str) -> None:
    """400 (404 for a model) with the parameter."""
    with shim_client() as client:
        reply = client.post(path, json=body)
    assert (reply.status_code in (400, 404), reply.json()["error"]["param"]) == (True, param)


def test_the_tokenizer_s_refusal_is_passed_on() -> None:
    """In the endpoint's words."""
    triton = FakeTriton()
    triton.infers = InvalidRequest("the prompt is empty", "text_input")
    with shim_client(triton) as client:
        reply = client.post("/tokenize", json={"prompt": ""})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "prompt: the prompt is empty")


def test_the_document_has_every_parameter() -> None:
    """The bodies that endpoints read by themselves are in it, with what each parameter does."""
    with shim_client() as client:
        document = client.get("/openapi.json").json()
        assert client.get("/docs").status_code == 200
    for model in BODIES.values():
        properties = document["components"]["schemas"][model.__name__]["properties"]
        assert set(properties) == set(model.model_fields)
        assert all(p["description"] for p in properties.values())
    operation = document["paths"]["/v1/chat/completions"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionRequest")
    assert "422" not in operation["responses"]


def test_leaving_in_order() -> None:
    """Not ready at once, new work while the notice runs, then none, and what was accepted finishes."""
    triton = FakeTriton([TextPiece("x")], endless=True)

    async def run() -> None:
        drain = Drain()
        started, statuses = asyncio.Event(), []

        async def app(*_: Any) -> None:
            started.set()
            await asyncio.sleep(0.2)

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        gate = DrainGate(app, drain)
        scope = {"type": "http", "path": "/v1/completions", "method": "POST"}
        accepted = asyncio.create_task(gate(scope, None, send))  # type: ignore[arg-type]  # nothing is received
        await started.wait()
        leaving = asyncio.create_task(drain.leave(notice_s=0.05, drain_s=5))
        await asyncio.sleep(0.01)
        assert (drain.leaving, drain.refusing, drain.in_flight) == (True, False, 1)
        await asyncio.sleep(0.1)
        await gate(scope, None, send)  # type: ignore[arg-type]
        assert (drain.refusing, statuses[0]) == (True, 503)
        assert await leaving
        assert accepted.done()

    asyncio.run(run())
    assert triton.asked == []


def test_leaving_has_a_bound() -> None:
    """A request that does not end does not keep the process."""

    async def run() -> bool:
        drain = Drain()
        drain.begin()
        return await drain.leave(0, 0.02)

    assert asyncio.run(run()) is False


def test_who_is_leaving_is_not_ready() -> None:
    """At once."""
    with shim_client() as client:
        client.app.state.shim.drain.leaving = True  # type: ignore[attr-defined]  # starlette's
        reply = client.get("/health/ready")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "shutting_down")


def test_settings_refuse_what_they_do_not_know() -> None:
    """A typo in a deployment is no setting."""
    with pytest.raises(ValueError, match="extra"):
        ShimSettings(drain=3)  # type: ignore[call-arg]
    assert answer("x").finish == "stop"
