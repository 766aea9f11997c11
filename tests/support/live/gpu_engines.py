"""What the live tests of the engines of GPU libraries ask a server, whose stand-ins repeat the prompt."""

from __future__ import annotations

import re
import urllib.request

import pytest

from qwen_triton.tensors.contract import BLS
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, together
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes


def check_adapter(server: LiveServer, tokenizer: Tokenizer, model: str, name: str, **asked: object) -> None:
    """The first adapter, which raises each id of the prompt by one, answers where it is named and only there."""
    ids = tokenizer.encode("one two three")
    raised = tokenizer.decode([token + 1 for token in ids])
    ask = {"text_input": "one two three", "max_tokens": len(ids)}
    assert generate(server, model, **ask, **asked, lora_name=name)["text_output"] == raised
    assert generate(server, model, **ask)["text_output"] == "one two three"
    with pytest.raises(Refused, match=f"lora_name: no adapter has this name; there are {name}"):
        generate(server, model, **ask, lora_name="sailor")


def check_crowd(server: LiveServer, clients: int) -> None:
    """Streams to all at once are whole, and leave nothing behind."""
    asked = [{"text_input": f"number {n} of", "max_tokens": 8, "stream": True} for n in range(clients)]
    received = together([Grpc(server, BLS, inputs) for inputs in asked])
    assert [h.error for h in received] == [""] * clients
    assert [h.text[: len(f"number {n}")] for n, h in enumerate(received)] == [f"number {n}" for n in range(clients)]
    assert becomes(server.is_free, 10)


def check_failure(server: LiveServer, fault: int) -> None:
    """A sequence whose prompt has the id `fault` fails, and alone; its caller gets no cause."""
    with pytest.raises(Refused, match="internal error; the server's log has the cause"):
        generate(server, BLS, input_ids=[fault], max_tokens=4)
    assert generate(server, BLS, text_input="hello again", max_tokens=2)["text_output"] == "hello again"


def engine_metrics(server: LiveServer) -> dict[str, float]:
    """The engine's own metrics on Triton's page, without the prefix qwen_triton_."""
    text = urllib.request.urlopen(server.metrics, timeout=10).read().decode()
    return {name: float(value) for name, value in re.findall(r"^qwen_triton_(\w+)\{[^}]*\} (\S+)$", text, re.M)}


def answers_again(server: LiveServer) -> bool:
    """Whether an engine that has died is there again."""
    try:
        return bool(generate(server, BLS, text_input="hello", max_tokens=1)["text_output"] == "hello")
    except Refused:
        return False
