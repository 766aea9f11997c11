"""What the live tests of the engines of GPU libraries ask a server, whose stand-ins repeat the prompt."""

from __future__ import annotations

import re
import urllib.request

import pytest

from qwen_triton.tensors.contract import BLS
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.client import Refused, generate
from tests.support.live.servers import LiveServer


def check_adapter(server: LiveServer, tokenizer: Tokenizer, model: str, name: str, **asked: object) -> None:
    """The first adapter, which raises each id of the prompt by one, answers where it is named and only there."""
    ids = tokenizer.encode("one two three")
    raised = tokenizer.decode([token + 1 for token in ids])
    ask = {"text_input": "one two three", "max_tokens": len(ids)}
    assert generate(server, model, **ask, **asked, lora_name=name)["text_output"] == raised
    assert generate(server, model, **ask)["text_output"] == "one two three"
    with pytest.raises(Refused, match=f"lora_name: no adapter has this name; there are {name}"):
        generate(server, model, **ask, lora_name="sailor")


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
