"""The whole line over every way into the text models: whole and streamed, HTTP and gRPC, with both engines."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.client import generate, generate_stream, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [ENSEMBLE, BLS])
PROMPT = "你好，你叫什么名字 👩‍👩‍👧 é"
ROWS: list[dict[str, Any]] = [
    {"text_input": "first 你好", "max_tokens": 4},
    {"text_input": "second 👩‍👩‍👧", "max_tokens": 2},
    {"text_input": "third", "max_tokens": 9},
]


def said(pieces: Sequence[Mapping[str, Any]], row: int = 0) -> str:
    """What the pieces of one row say together."""
    return "".join(p["text_output"] for p in pieces if p.get("batch_index", 0) == row)


@both_models
def test_generate_answers_with_the_whole_text(replay_server: LiveServer, model: str) -> None:
    """The blog's cURL; the replay engine says the prompt again."""
    answer = generate(replay_server, model, text_input=PROMPT, max_tokens=100, bad_words="", stop_words="")
    assert answer["text_output"] == PROMPT
    assert (answer["finish_reason"], answer["batch_index"], answer["sequence_index"]) == ("stop", 0, 0)


@both_models
def test_generate_stream_says_the_same_in_pieces(replay_server: LiveServer, model: str) -> None:
    events = generate_stream(replay_server, model, text_input=PROMPT, max_tokens=100)
    assert len(events) > 3
    assert said(events) == PROMPT
    assert [e["finish_reason"] for e in events if e.get("finish_reason")] == ["stop"]


@both_models
def test_a_grpc_stream_says_the_same_in_pieces(replay_server: LiveServer, model: str) -> None:
    responses = stream_grpc(replay_server, model, {"text_input": PROMPT, "max_tokens": 100, "stream": True})
    assert len(responses) > 3
    assert said(responses) == PROMPT


@both_models
def test_the_usage_counts_tokens(replay_server: LiveServer, model: str, qwen25: Tokenizer) -> None:
    """The end token of an answer that ended by itself is generated too."""
    tokens = len(qwen25.encode(PROMPT))
    answer = generate(replay_server, model, text_input=PROMPT)
    assert (answer["num_input_tokens"], answer["num_output_tokens"], answer["num_cached_tokens"]) == (
        tokens,
        tokens + 1,
        0,
    )
    cut = generate(replay_server, model, text_input=PROMPT, max_tokens=3)
    assert (cut["num_output_tokens"], cut["finish_reason"]) == (3, "length")


def echo(server: LiveServer, model: str, **sent: Any) -> str:
    """The whole prompt as the engine got it, its end tokens included."""
    tokens = generate(server, model, max_tokens=1, **sent)["num_input_tokens"]
    return str(generate(server, model, max_tokens=tokens, ignore_eos=True, **sent)["text_output"])


@both_models
def test_messages_are_rendered_with_qwen_s_template(replay_server: LiveServer, model: str) -> None:
    """`skip_special_tokens` takes the control tokens out of the echo."""
    messages = '[{"role": "system", "content": "短"}, {"role": "user", "content": "你好"}]'
    assert echo(replay_server, model, messages=messages) == "system\n短\nuser\n你好\nassistant\n"


@both_models
def test_prompt_format_may_be_given_with_the_request(replay_server: LiveServer, model: str) -> None:
    assert echo(replay_server, model, text_input="你好") == "你好"
    assert echo(replay_server, model, text_input="你好", prompt_format="chat").endswith("\nuser\n你好\nassistant\n")


@both_models
@pytest.mark.parametrize("stream", [False, True])
def test_each_row_of_a_batch_gets_its_own_answer(
    replay_server: LiveServer, model: str, stream: bool, qwen25: Tokenizer
) -> None:
    """Under its batch_index, however long the others are; a whole answer is one response."""
    rows = [{**row, "stream": stream} for row in ROWS]
    expected = [qwen25.decode(qwen25.encode(r["text_input"])[: r["max_tokens"]]) for r in ROWS]
    responses = stream_grpc(replay_server, model, *rows)
    assert [said(responses, row) for row in range(3)] == expected
    if not stream:
        assert sorted(response["batch_index"] for response in responses) == [0, 1, 2]


@both_models
def test_openvino_says_the_same_by_every_way(openvino_server: LiveServer, model: str) -> None:
    """Greedy: one text, whole or in pieces, over HTTP or gRPC."""
    sent = {"text_input": PROMPT, "max_tokens": 24, "top_k": 1}
    whole = generate(openvino_server, model, **sent)["text_output"]
    assert whole
    events = generate_stream(openvino_server, model, **sent)
    assert len(events) > 1
    assert said(events) == whole
    assert said(stream_grpc(openvino_server, model, {**sent, "stream": True})) == whole


@both_models
def test_openvino_answers_each_row_as_if_it_were_alone(openvino_server: LiveServer, model: str) -> None:
    rows = [{**row, "top_k": 1} for row in ROWS]
    alone = [generate(openvino_server, model, **row)["text_output"] for row in rows]
    together = stream_grpc(openvino_server, model, *rows)
    assert {answer["batch_index"]: answer["text_output"] for answer in together} == dict(enumerate(alone))
    pieces = stream_grpc(openvino_server, model, *({**row, "stream": True} for row in rows))
    assert [said(pieces, row) for row in range(3)] == alone


def test_both_models_say_the_same(openvino_server: LiveServer) -> None:
    sent = {"text_input": "Tell me of the sea.", "max_tokens": 32, "top_k": 1}
    assert (
        generate(openvino_server, ENSEMBLE, **sent)["text_output"]
        == generate(openvino_server, BLS, **sent)["text_output"]
    )


def test_metrics_answer(replay_server: LiveServer) -> None:
    """Triton's own counters and ours, after a request."""
    generate(replay_server, BLS, text_input="count me")
    with urllib.request.urlopen(replay_server.metrics, timeout=10) as reply:
        text = reply.read().decode()
    assert 'nv_inference_request_success{model="tensorrt_llm_bls"' in text
    assert "qwen_triton_" in text


@both_models
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("left_out", [["input"], ["output"], ["input", "output"]], ids="+".join)
def test_token_counts_are_left_out_where_the_caller_says_so(
    replay_server: LiveServer, model: str, streamed: bool, left_out: list[str]
) -> None:
    sent: dict[str, Any] = {f"return_num_{side}_tokens": False for side in left_out}
    responses = stream_grpc(replay_server, model, {"text_input": "hello there", "stream": streamed, **sent})
    counts = {name for response in responses for name in response if name in ("num_input_tokens", "num_output_tokens")}
    assert counts == {f"num_{side}_tokens" for side in ("input", "output") if side not in left_out}
