"""Callers who vanish by the hundred: slots come back, the server lives, and the others' text is right."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.crowd import Caller, Grpc, Http, break_off, together
from tests.support.live.servers import LiveServer
from tests.support.live.texts import random_texts
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 10.0, "slots": 128}})


def crowd(server: LiveServer, texts: list[str], draw: random.Random) -> Iterator[Caller]:
    """Every second one leaves: after some pieces, before its first, or while it still waits for a slot.

    gRPC callers of the ensemble leave by stock's `stop` request: this tritonserver can abort when they cancel.
    """
    for number, text in enumerate(texts):
        leaves = draw.choice([0, 1, 2, 5, 10, 20]) if number % 2 else None
        inputs = {"text_input": text, "max_tokens": 300, "stream": True}
        model = draw.choice([BLS, BLS, ENSEMBLE])
        if number % 3:
            yield Grpc(server, model, inputs, str(number), leaves_after=leaves, stops=model == ENSEMBLE)
        else:
            yield Http(server, model, inputs, leaves_after=leaves)


def test_half_of_300_callers_vanish(server: LiveServer, qwen25: Tokenizer) -> None:
    texts = [a + b for a, b in zip(*[islice(random_texts(qwen25, seed, 80), 300) for seed in (5, 6)], strict=True)]
    texts = [text for text in texts if qwen25.decode(qwen25.encode(text)) == text]
    received = together(list(crowd(server, texts, random.Random(7))))
    stayed = [(text, h) for text, h in zip(texts, received, strict=True) if not h.left]
    assert len(stayed) >= len(texts) / 2
    for text, answer in stayed:
        assert (answer.text, answer.error, answer.ends) == (text, "", 1)
    for text, answer in zip(texts, received, strict=True):
        assert answer.is_beginning_of(text)
        assert not answer.error

    assert becomes(server.is_free, within_s=10)


def test_three_thousand_streams_are_cancelled_500_at_a_time(serve: Serve, qwen25_folder: Path) -> None:
    """Final responses that come at once, while others are still under way, end tritonserver 2.51 («double free»)."""
    server = serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 20.0}})
    inputs = {"text_input": "and on ", "ignore_eos": True, "max_tokens": 30_000, "stream": True}
    for _ in range(6):
        received = break_off(
            [Grpc(server, BLS, inputs)] * 500, when=lambda received: min(len(h.pieces) for h in received) > 9
        )
        assert all(len(h.pieces) > 9 and not h.ends for h in received)
        assert becomes(server.is_free, within_s=10)
    assert together([Grpc(server, BLS, {"text_input": "one two", "stream": True})])[0].text == "one two"
