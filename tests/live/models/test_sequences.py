"""Several sequences of one prompt, log probs, seeds, whole text so far: what the engines can do, and no more."""

from __future__ import annotations

import json
import math
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate, generate_stream, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [BLS, ENSEMBLE])
PROMPT = "你好，你叫什么名字 👩‍👩‍👧"
HOT = {"text_input": PROMPT, "max_tokens": 12, "temperature": 1.0, "top_k": 0, "ignore_eos": True}


@both_models
def test_a_seed_repeats_an_answer_and_none_does_not(openvino_server: LiveServer, model: str) -> None:
    """At temperature 1: the same seed the same text; without one two identical requests differ."""
    first, again, other, free, free_again = (
        generate(openvino_server, model, **HOT, **seed)["text_output"]
        for seed in ({"random_seed": 7}, {"seed": 7}, {"seed": 8}, {}, {})
    )
    assert first == again
    assert len({first, other, free, free_again}) == 4


def test_n_sequences_come_whole_and_in_pieces(openvino_server: LiveServer) -> None:
    """Three texts, all different, the same streamed as whole; each piece says which sequence it is of."""
    sent = {**HOT, "num_return_sequences": 3, "seed": 5}
    whole = sorted(stream_grpc(openvino_server, BLS, sent), key=lambda answer: answer["sequence_index"])
    texts = [answer["text_output"] for answer in whole]
    assert len(set(texts)) == 3
    assert [answer["num_output_tokens"] for answer in whole] == [12, 12, 12]
    pieces = stream_grpc(openvino_server, BLS, {**sent, "stream": True})
    by_sequence = groupby(sorted(pieces, key=lambda p: p["sequence_index"]), lambda p: p["sequence_index"])
    assert ["".join(p["text_output"] for p in group) for _, group in by_sequence] == texts
    assert [p["finish_reason"] for p in pieces if "finish_reason" in p] == ["length"] * 3


def test_best_of_keeps_the_likeliest(openvino_server: LiveServer) -> None:
    """Of four sequences of one seed the one with the highest log prob; streamed it cannot be known, so it is refused."""
    sent = {**HOT, "seed": 5}
    four = stream_grpc(openvino_server, BLS, {**sent, "num_return_sequences": 4, "return_log_probs": True})
    assert len(four) == 4
    ranked = sorted(four, key=lambda answer: -answer["cum_log_probs"])
    best = stream_grpc(openvino_server, BLS, {**sent, "best_of": 4, "num_return_sequences": 2})
    assert [answer["text_output"] for answer in best] == [answer["text_output"] for answer in ranked[:2]]
    assert [answer["sequence_index"] for answer in best] == [0, 1]
    with pytest.raises(Refused, match="best_of: the best sequences are known at the end only"):
        stream_grpc(openvino_server, BLS, {**sent, "best_of": 4, "stream": True})


@both_models
def test_beams_come_whole_and_best_first(openvino_server: LiveServer, model: str) -> None:
    sent = {"text_input": PROMPT, "max_tokens": 8, "beam_width": 3}
    beams = stream_grpc(openvino_server, model, {**sent, "return_log_probs": True})[-1]
    assert len(set(beams["text_output"])) == 3
    scores = beams["cum_log_probs"][0]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(Refused, match="beams are known at the end only; ask for stream = false"):
        stream_grpc(openvino_server, model, {**sent, "stream": True})


@both_models
def test_log_probs_belong_to_the_tokens_of_the_text(openvino_server: LiveServer, model: str) -> None:
    """One for each token, all below zero, their sum the cumulative one; the same streamed."""
    sent = {**HOT, "seed": 3, "return_log_probs": True}
    whole = stream_grpc(openvino_server, model, sent)[-1]
    log_probs = whole["output_log_probs"][0][0]
    assert len(log_probs) == 12
    assert all(p < 0 for p in log_probs)
    assert math.isclose(sum(log_probs), whole["cum_log_probs"], rel_tol=1e-4)
    pieces = stream_grpc(openvino_server, model, {**sent, "stream": True})
    streamed = [p for piece in pieces for p in _flat(piece["output_log_probs"])]
    assert streamed == pytest.approx(log_probs, rel=1e-4)


def _flat(values: Any) -> list[float]:
    return [v for x in values for v in _flat(x)] if isinstance(values, list) else [values]


@pytest.fixture(scope="module")
def accumulating(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """A replay server that gives the whole text so far unless a request says otherwise."""
    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 2.0}}
    return serve({**deployment, "repository": {"accumulate_tokens": True}})


def test_top_log_probs_are_aligned_with_the_text(accumulating: LiveServer, qwen25: Tokenizer) -> None:
    """OpenAI's logprobs content: the bytes of all tokens joined are the text; N likeliest ones each, this one first."""
    sent = {"text_input": PROMPT, "max_tokens": 50, "return_log_probs": True, "top_logprobs": 3}
    answer = generate(accumulating, BLS, **sent)
    content = json.loads(answer["logprobs"])
    assert b"".join(bytes(token["bytes"]) for token in content).decode() == answer["text_output"] == PROMPT
    assert [len(token["top_logprobs"]) for token in content] == [3] * len(qwen25.encode(PROMPT))
    assert all(token["top_logprobs"][0]["bytes"] == token["bytes"] for token in content)


@both_models
def test_log_probs_of_the_prompt_and_the_likeliest_tokens(
    accumulating: LiveServer, qwen25: Tokenizer, model: str
) -> None:
    """Once, with the first of two answers, whole and streamed; replay says that each token is the likeliest, at -0.5."""
    ids = qwen25.encode(PROMPT)
    sent = {"text_input": PROMPT, "max_tokens": 3, "prompt_logprobs": 1, "num_return_sequences": 2}
    for more in ({"stream": False}, {"stream": True}):
        told = [answer for answer in stream_grpc(accumulating, model, {**sent, **more}) if "prompt_log_probs" in answer]
        assert len(told) == 1
        assert told[0].get("sequence_index", 0) == 0
        assert _flat(told[0]["prompt_log_probs"]) == [0.0, *[-0.5] * (len(ids) - 1)]
        if model == BLS:
            tokens = json.loads(told[0]["prompt_logprobs"])
            assert [token["id"] for token in tokens] == ids
            assert [top["id"] for token in tokens for top in token["top_logprobs"]] == ids[1:]
        else:
            assert _flat(told[0]["prompt_top_token_ids"]) == [-1, *ids[1:]]
    if model == ENSEMBLE:
        ask = {"text_input": "one two", "max_tokens": 2, "return_log_probs": True, "top_logprobs": 2}
        (answer,) = stream_grpc(accumulating, model, ask)
        assert _flat(answer["output_top_log_probs"]) == [-0.5, -1.5] * 2


def test_top_log_probs_without_log_probs_are_refused(accumulating: LiveServer) -> None:
    with pytest.raises(Refused, match="top_logprobs: needs return_log_probs = true"):
        generate(accumulating, BLS, text_input="hello", top_logprobs=3)


def test_accumulated_text_and_deltas(accumulating: LiveServer) -> None:
    """The deployment's setting, and a request that overrides it."""
    texts = [event["text_output"] for event in generate_stream(accumulating, BLS, text_input=PROMPT)]
    assert len(texts) > 2
    assert texts[-1] == PROMPT
    assert all(longer.startswith(shorter) for shorter, longer in pairwise(texts))
    deltas = generate_stream(accumulating, BLS, text_input=PROMPT, accumulate_tokens=False)
    assert "".join(event["text_output"] for event in deltas) == PROMPT
    assert len(deltas) > 2


@both_models
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("beam_width", 2), ("repetition_penalty", 1.2), ("frequency_penalty", 0.5), ("presence_penalty", 0.5)),
        *(("priority", 1), ("lora_name", "pirate")),
    ],
)
def test_what_the_engine_cannot_do_is_refused(accumulating: LiveServer, model: str, name: str, value: Any) -> None:
    with pytest.raises(Refused, match=f"{name}: the replay engine does not support it; leave it out"):
        generate(accumulating, model, text_input="hello", max_tokens=4, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("accumulate_tokens", True), ("best_of", 2), ("logit_bias", '{"5": 1.0}')],
)
def test_what_the_ensemble_cannot_do_is_refused(accumulating: LiveServer, name: str, value: Any) -> None:
    """Triton's generate would take an input that the ensemble lacks for a parameter and drop it."""
    with pytest.raises(Refused, match=f"{name}.*tensorrt_llm_bls"):
        generate(accumulating, ENSEMBLE, text_input="hello", max_tokens=4, **{name: value})
