"""Bad words, biases and cached tokens from the request to the engine and back, through both text models.

The replay engine acts on them as a sampler does: a script's token leads by 10 (engines.replay.sampler).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton.engines.replay.prefix_cache import BLOCK
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.client import generate, generate_stream, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [BLS, ENSEMBLE])
PROMPT = "one two three two"


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 2.0, "prefix_caching": True}})


@both_models
@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "one two three two"),
        ({"bad_words": [" two"]}, "one! three!"),
        ({"bad_words": [" two three", " four"]}, "one two! two"),
        ({"bad_words": [" two"], "embedding_bias_words": [" no"], "embedding_bias_weights": [1.0]}, "one no three no"),
        ({"embedding_bias_words": [" three"], "embedding_bias_weights": [-20.0]}, "one two! two"),
        ({"embedding_bias_words": [" no", " yes"], "embedding_bias_weights": [11.0, 12.0]}, " yes" * 4),
        ({"embedding_bias_words": [" no"], "embedding_bias_weights": [9.0]}, "one two three two"),
    ],
)
def test_a_banned_word_never_appears_and_a_favoured_one_does(
    server: LiveServer, model: str, inputs: dict[str, Any], text: str, qwen25: Tokenizer
) -> None:
    """Exact text, streamed and whole; where nothing else is favoured the lowest id takes the place, «!»."""
    assert (qwen25.token_bytes(0), len(qwen25.encode(PROMPT))) == (b"!", 4)
    sent = {"text_input": PROMPT, "max_tokens": 4, **inputs}
    assert generate(server, model, **sent)["text_output"] == text
    assert "".join(event["text_output"] for event in generate_stream(server, model, **sent)) == text


def test_a_bias_by_token_id(server: LiveServer, qwen25: Tokenizer) -> None:
    (favoured,) = qwen25.encode(" yes")
    answer = generate(server, BLS, text_input=PROMPT, max_tokens=2, logit_bias=f'{{"{favoured}": 30}}')
    assert answer["text_output"] == " yes yes"


@both_models
def test_usage_tells_the_cached_tokens(server: LiveServer, model: str) -> None:
    """None of a prompt that is new; the second time whole blocks of it, also where a stop word ends the answer early."""
    text = f"{model}: " + "and on " * 40
    stopped = {"stop_words": [" on and"], "max_tokens": 60}
    first, second, third = (
        generate(server, model, text_input=text, **more) for more in ({"max_tokens": 9}, {"max_tokens": 9}, stopped)
    )
    assert first["num_cached_tokens"] == 0
    cached = (first["num_input_tokens"] - 1) // BLOCK * BLOCK
    assert cached > 0
    assert (second["num_cached_tokens"], third["num_cached_tokens"]) == (cached, cached)
    assert third["finish_reason"] == "stop"
    streamed = generate_stream(server, model, text_input=text, max_tokens=9)
    assert streamed[-1]["num_cached_tokens"] == cached


def test_the_engine_model_tells_them_too(server: LiveServer) -> None:
    ids = list(range(1000, 1040))
    sent = {"input_ids": ids, "input_lengths": 40, "request_output_len": 5, "streaming": True}
    told = [stream_grpc(server, TENSORRT_LLM, sent)[-1]["num_cached_tokens"] for _ in range(2)]
    assert told == [0, 32]
