"""`decoupled: false`, stock's setting: the same models answer plain KServe infer and generate, whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate, generate_stream, infer_grpc, infer_http, stream_grpc
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [ENSEMBLE, BLS])
PROMPT = "你好，你叫什么名字 👩‍👩‍👧 é"


@pytest.fixture(scope="module")
def whole_server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """Replay, not decoupled."""
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay"}, "repository": {"decoupled": False}})


@pytest.fixture(scope="module")
def whole_openvino_server(serve: Serve, random_checkpoint: Path) -> LiveServer:
    """openvino, not decoupled."""
    engine = {"kind": "openvino", "cache_gib": 1}
    return serve({"model": str(random_checkpoint), "engine": engine, "repository": {"decoupled": False}})


@both_models
def test_every_way_gives_the_whole_answer(whole_server: LiveServer, model: str) -> None:
    sent: dict[str, Any] = {"text_input": PROMPT, "max_tokens": 100, "bad_words": [""], "stop_words": [""]}
    assert generate(whole_server, model, **sent)["text_output"] == PROMPT
    assert infer_http(whole_server, model, sent)["text_output"] == PROMPT
    assert infer_grpc(whole_server, model, sent)["text_output"] == PROMPT
    assert [r["text_output"] for r in stream_grpc(whole_server, model, sent)] == [PROMPT]
    assert [e["text_output"] for e in generate_stream(whole_server, model, **sent, stream=False)] == [PROMPT]


@both_models
@pytest.mark.parametrize("infer", [infer_http, infer_grpc])
def test_each_row_of_a_batch_gets_its_own_answer(whole_server: LiveServer, model: str, infer: Any) -> None:
    rows = [{"text_input": text, "max_tokens": 3} for text in ("one", "二三四五六", "three of them or more")]
    answers = infer(whole_server, model, *rows)
    assert answers["text_output"] == [generate(whole_server, model, **row)["text_output"] for row in rows]
    assert answers["batch_index"] == [[0], [1], [2]]
    assert answers["finish_reason"] == [["stop"], ["length"], ["length"]]


@both_models
def test_a_stream_is_refused_and_the_next_request_answered(whole_server: LiveServer, model: str) -> None:
    """One response is all that such a model may send: a second one would be lost, and the caller wait for ever."""
    with pytest.raises(Refused, match=r"stream: this server answers whole; .* repository.decoupled: true"):
        infer_grpc(whole_server, model, {"text_input": PROMPT, "stream": True})
    assert generate(whole_server, model, text_input=PROMPT)["text_output"] == PROMPT


@both_models
def test_openvino_gives_the_same_answer_by_every_way(whole_openvino_server: LiveServer, model: str) -> None:
    sent = {"text_input": PROMPT, "max_tokens": 16, "top_k": 1}
    text = generate(whole_openvino_server, model, **sent)["text_output"]
    assert text
    assert infer_http(whole_openvino_server, model, sent)["text_output"] == text
    assert infer_grpc(whole_openvino_server, model, sent)["text_output"] == text
