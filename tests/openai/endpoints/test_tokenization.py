"""Endpoints POST /tokenize and /detokenize."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from tests.support.fake_triton import FakeTriton, shim_client


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


def test_the_tokenizer_s_facts_are_the_checkpoint_s(qwen_folder: Path) -> None:
    """As vLLM names them; 404 for a shim that was not told a folder."""
    with shim_client() as client:
        assert client.get("/tokenizer_info").json()["error"]["code"] == "no_tokenizer"
    with shim_client(tokenizer_dir=qwen_folder / "qwen2.5") as client:
        found = client.get("/tokenizer_info").json()
    assert (found["eos_token"], found["pad_token"], found["model_max_length"]) == (
        "<|im_end|>",
        "<|endoftext|>",
        32_768,
    )
    assert (found["tokenizer_class"], found["add_bos_token"]) == ("Qwen2Tokenizer", False)
    assert "<|im_start|>" in found["chat_template"]


def test_special_tokens_are_a_hint() -> None:
    """lm-eval sends the parameter with every text."""
    triton = FakeTriton()
    triton.infers = {"INPUT_ID": np.array([64], np.int32).tobytes()}
    with shim_client(triton) as client:
        assert client.post("/tokenize", json={"prompt": "a", "add_special_tokens": False}).json()["tokens"] == [64]
