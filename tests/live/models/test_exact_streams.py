"""Five hundred answers at once, each compared byte by byte with what its tokens say, through either model."""

from __future__ import annotations

from itertools import islice

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.crowd import Grpc, Http, together
from tests.support.live.servers import LiveServer
from tests.support.live.texts import random_ids, random_texts

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: object) -> LiveServer:
    """Echoes; three postprocessing instances, two of preprocessing."""
    return serve(
        {
            "model": str(qwen25_folder),
            "engine": {"kind": "replay", "step_ms": 4.0},
            "repository": {"postprocessing_instances": 3, "preprocessing_instances": 2},
        }
    )


def test_500_streams_of_random_tokens_are_exact(server: LiveServer, qwen25: Tokenizer) -> None:
    """Control tokens, half characters, bytes that are no UTF-8: the pieces joined are the one-shot decode."""
    streams = list(islice(random_ids(qwen25, seed=1, longest=80), 500))
    sent = [
        {"input_ids": ids, "max_tokens": len(ids), "ignore_eos": True, "stream": True, "random_seed": n}
        for n, ids in enumerate(streams)
    ]
    received = together([Grpc(server, BLS, inputs) for inputs in sent])
    for ids, answer in zip(streams, received, strict=True):
        assert (answer.text, answer.error, answer.ends) == (qwen25.decode(ids), "", 1)
        assert "".join(piece.decode() for piece in answer.pieces) == answer.text
        assert (answer.finish, answer.outputs["num_output_tokens"]) == ("length", len(ids))
        assert answer.outputs["num_input_tokens"] == len(ids)


def test_500_streams_over_http_are_exact(server: LiveServer, qwen25: Tokenizer) -> None:
    """generate_stream, with text prompts; every event holds whole characters or the JSON would not be UTF-8."""
    texts = list(islice(random_texts(qwen25, seed=2), 500))
    received = together([Http(server, BLS, {"text_input": text, "max_tokens": 200}) for text in texts])
    for text, answer in zip(texts, received, strict=True):
        assert (answer.text, answer.error, answer.ends) == (text, "", 1)
        assert (answer.finish, answer.outputs["stop_reason"]) == ("stop", "null")


@pytest.mark.parametrize("named", [True, False], ids=["request ids", "no request ids"])
def test_ensemble_streams_are_exact_with_several_postprocessing_instances(
    server: LiveServer, qwen25: Tokenizer, named: bool
) -> None:
    """All bytes in order, always; whole characters in each piece where the request has an id."""
    texts = list(islice(random_texts(qwen25, seed=3), 120))
    received = together(
        [
            Grpc(server, ENSEMBLE, {"text_input": t, "max_tokens": 200, "stream": True}, str(n) if named else "")
            for n, t in enumerate(texts)
        ]
    )
    for text, answer in zip(texts, received, strict=True):
        assert (answer.text, answer.error, answer.ends) == (text, "", 1)
        if named:
            assert "".join(piece.decode() for piece in answer.pieces) == text
    if not named:
        assert any(_broken(piece) for answer in received for piece in answer.pieces), "no character was ever split"


def _broken(piece: bytes) -> bool:
    return "\ufffd" in piece.decode("utf-8", "replace")
