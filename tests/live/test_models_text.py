"""The whole line over every way in: both text models, both engines, streamed and whole, decoupled and not."""

from __future__ import annotations

import pytest

from qwen_triton.contract import BLS, ENSEMBLE
from tests.live.client import generate, generate_stream, stream_grpc
from tests.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [ENSEMBLE, BLS])
PROMPT = "你好，你叫什么名字 👩‍👩‍👧 é"


@both_models
def test_generate_answers_with_the_whole_text(replay_server: LiveServer, model: str) -> None:
    """The replay engine says the prompt again."""
    answer = generate(replay_server, model, text_input=PROMPT, max_tokens=100, bad_words="", stop_words="")
    assert answer["text_output"] == PROMPT


@both_models
def test_generate_stream_says_the_same_in_pieces(replay_server: LiveServer, model: str) -> None:
    events = generate_stream(replay_server, model, text_input=PROMPT, max_tokens=100)
    assert len(events) > 1
    assert "".join(event["text_output"] for event in events) == PROMPT


@both_models
def test_grpc_stream_says_the_same_in_pieces(replay_server: LiveServer, model: str) -> None:
    responses = stream_grpc(replay_server, model, {"text_input": PROMPT, "max_tokens": 100, "stream": True})
    assert "".join(response["text_output"] for response in responses) == PROMPT


@both_models
def test_openvino_says_the_same_whole_and_in_pieces(openvino_server: LiveServer, model: str) -> None:
    """Greedy: every way in gives one text, and every piece of it is whole characters."""
    asked = {"text_input": PROMPT, "max_tokens": 24, "top_k": 1}
    whole = generate(openvino_server, model, **asked)["text_output"]
    assert whole
    events = generate_stream(openvino_server, model, **asked)
    assert "".join(event["text_output"] for event in events) == whole
    responses = stream_grpc(openvino_server, model, {**asked, "stream": True})
    assert "".join(response["text_output"] for response in responses) == whole
