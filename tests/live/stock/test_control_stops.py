"""Stop words that are control tokens: such a token has no text, so it is found by its id, the same on every way in."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from qwen_triton.tensors.arrays import encode_word_list
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton_bench.run.server import running_shim
from tests.support.live.client import Refused, generate, generate_stream
from tests.support.live.servers import LiveServer
from tests.support.live.stock_programs import id_inputs, responses

pytestmark = pytest.mark.live
PROMPT = "one two<|im_end|> three"
"""What the engine says; of itself it would go on to the end of 40 tokens, because end_id is another."""
END_ID = 2
TOKENS = 40
REASON = r"has <\|im_end\|> beside other text: a control token has no text, .* give <\|im_end\|> alone"


@pytest.fixture(scope="module")
def shim(replay_server: LiveServer) -> Iterator[str]:
    """http://HOST:PORT of the OpenAI server."""
    with running_shim(replay_server.grpc) as (url, _):
        yield url


def complete(shim: str, stop: str, **more: Any) -> dict[str, Any]:
    """POST /v1/completions."""
    body = {
        "model": "qwen",
        "prompt": PROMPT,
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stop": stop,
        **more,
    }
    request = urllib.request.Request(
        f"{shim}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return dict(json.load(reply))


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize("stops", ["<|im_end|>", ["zzz", "<|im_end|>"]], ids=["alone", "among others"])
def test_a_text_model_stops_at_a_control_token(replay_server: LiveServer, model: str, stops: Any) -> None:
    """Whole and streamed: two tokens of text, and the token itself counts as generated."""
    sent = {"text_input": PROMPT, "end_id": END_ID, "stop_words": stops, "max_tokens": TOKENS}
    whole = generate(replay_server, model, **sent)
    assert (whole["text_output"], whole["finish_reason"], whole["num_output_tokens"]) == ("one two", "stop", 3)
    events = generate_stream(replay_server, model, **sent)
    assert "".join(event["text_output"] for event in events) == "one two"
    assert (events[-1]["finish_reason"], events[-1]["num_output_tokens"]) == ("stop", 3)
    if model == BLS:
        assert whole["stop_reason"] == events[-1]["stop_reason"] == "151645"


@pytest.mark.parametrize("given", ["stop_words_list", "stop_words"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_engine_model_stops_at_a_control_token(
    replay_server: LiveServer, qwen25: Tokenizer, given: str, stream: bool
) -> None:
    """As an id, and as a string, which the ensemble sends it."""
    ids = qwen25.encode(PROMPT, control_tokens=True)
    arrays = id_inputs(ids, TOKENS, stream=stream, seed=1)
    if given == "stop_words":
        arrays[given] = np.array([[b"<|im_end|>"]], dtype=object)
    else:
        arrays[given] = encode_word_list([[(qwen25.special_tokens["<|im_end|>"],)]])
    answers = responses(replay_server, TENSORRT_LLM, arrays)
    found = [i for a in answers for i in a["output_ids"][0][0][: a["sequence_length"][0][0]].tolist()]
    assert found == ids[:2]
    assert answers[-1]["finish_reason"].item() == b"stop"
    assert answers[-1]["num_output_tokens"].item() == 3


def test_the_shim_stops_at_a_control_token(shim: str) -> None:
    answer = complete(shim, "<|im_end|>")
    choice = answer["choices"][0]
    assert (choice["text"], choice["finish_reason"], answer["usage"]["completion_tokens"]) == ("one two", "stop", 3)


@pytest.mark.parametrize("word", ["two<|im_end|>", "<|im_end|>\n", "<|im_end|><|im_end|>"])
@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_a_string_with_a_control_token_inside_is_refused(replay_server: LiveServer, model: str, word: str) -> None:
    with pytest.raises(Refused, match=f"stop_words: {REASON}"):
        generate(replay_server, model, text_input=PROMPT, stop_words=["fine", word], max_tokens=TOKENS)


@pytest.mark.parametrize("given", ["stop_words_list", "stop_words"])
def test_the_engine_model_refuses_it_too(replay_server: LiveServer, qwen25: Tokenizer, given: str) -> None:
    arrays = id_inputs([5, 6, 7], TOKENS, stream=False, seed=1)
    word = "two<|im_end|>"
    if given == "stop_words":
        arrays[given] = np.array([[word.encode()]], dtype=object)
    else:
        arrays[given] = encode_word_list([[qwen25.encode(word, control_tokens=True)]])
    with pytest.raises(Exception, match=f"{given}: {REASON}"):
        responses(replay_server, TENSORRT_LLM, arrays)


def test_the_shim_refuses_it_too(shim: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        complete(shim, "two<|im_end|>")
    error = json.load(refused.value)["error"]
    assert (refused.value.code, error["param"]) == (400, "stop")
    assert "beside other text" in error["message"]
