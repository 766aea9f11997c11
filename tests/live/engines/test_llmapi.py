"""The llmapi engine behind a real server, on a TensorRT-LLM that computes nothing, in an interpreter of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.fake_llmapi import write_fake_llmapi
from tests.support.gpu_library import write_adapter, write_interpreter
from tests.support.live.client import Refused, generate, generate_stream, stream_grpc
from tests.support.live.gpu_engines import (
    answers_again,
    check_adapter,
    check_crowd,
    check_failure,
    engine_metrics,
)
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
FAIL, KILLED = 150_900, 150_903


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """Of a tritonserver that mpirun seems to have started."""
    folder = tmp_path_factory.mktemp("llmapi")
    model = folder / "model"
    shutil.copytree(qwen25_folder, model)
    sizes = {"vocab_size": 152_064, "max_position_embeddings": 32_768}
    (model / "config.json").write_text(json.dumps(json.loads((model / "config.json").read_text()) | sizes))
    python = write_interpreter(folder, write_fake_llmapi(folder / "library"))
    python.write_text(python.read_text().replace("PYTHONPATH=", "OMPI_COMM_WORLD_RANK=0 PMIX_RANK=0 PYTHONPATH="))
    engine = {
        "kind": "llmapi",
        "python": str(python),
        "max_batch_size": 64,
        "max_seq_len": 2048,
        "tensor_parallel_size": 2,
        "guided_decoding_backend": "xgrammar",
        "lora": {"pirate": str(write_adapter(folder / "pirate"))},
    }
    return serve({"model": str(model), "engine": engine})


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize("text", ["one two three", "你好，世界 👩‍🚀!"])
def test_an_answer_through_the_whole_server(server: LiveServer, model: str, text: str) -> None:
    """The fake repeats the prompt for as long as it is asked to."""
    whole = generate(server, model, text_input=text, max_tokens=64, stop_words=[" end"])
    assert whole["text_output"].startswith(text)
    assert (whole["finish_reason"], whole["num_output_tokens"], whole["num_cached_tokens"]) == ("length", 64, 1)
    pieces = generate_stream(server, model, text_input=text, max_tokens=64, stream=True)
    assert "".join(piece["text_output"] for piece in pieces) == whole["text_output"]


def test_a_stop_word_is_found_in_the_text(server: LiveServer) -> None:
    """TensorRT-LLM is not told of it, and is aborted."""
    answer = generate(server, BLS, text_input="one two three four", max_tokens=2000, stop_words=["hree fo"])
    assert (answer["text_output"], answer["finish_reason"]) == ("one two t", "stop")
    assert becomes(server.is_free, 10)


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_an_adapter_answers_where_it_is_named(server: LiveServer, qwen25: Tokenizer, model: str) -> None:
    check_adapter(server, qwen25, model, "pirate")


def test_sequences_are_requests_of_their_own(server: LiveServer) -> None:
    asked = {"text_input": "one two", "max_tokens": 2, "num_return_sequences": 3, "temperature": 0.5}
    answers = stream_grpc(server, BLS, asked)
    assert [answer["text_output"] for answer in answers] == ["one two"] * 3
    assert sorted(answer["sequence_index"] for answer in answers) == [0, 1, 2]


def test_log_probs(server: LiveServer) -> None:
    answer = generate(server, BLS, text_input="one two", max_tokens=2, return_log_probs=True, top_logprobs=1)
    assert answer["output_log_probs"] == [-0.25, -0.25]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            {"seed": 7, "temperature": 0.5},
            "seed: this sampler has one seed for all requests; it needs engine.sampler_type",
        ),
        ({"repetition_penalty": 1.2}, "repetition_penalty: needs engine.sampler_type: TRTLLMSampler"),
        ({"beam_width": 2}, "beam_width: the llmapi engine does not support it; leave it out"),
        (
            {"guided_decoding_guide_type": "ebnf_grammar", "guided_decoding_guide": "start ::= [a"},
            "guided_decoding_guide: ",
        ),
    ],
)
def test_what_this_release_does_not_honour_is_refused(server: LiveServer, asked: dict[str, object], words: str) -> None:
    with pytest.raises(Refused, match=words):
        generate(server, BLS, text_input="one", max_tokens=1, **asked)


def test_a_form_and_a_seed_that_changes_nothing_are_taken(server: LiveServer) -> None:
    asked = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "[a-z ]+", "seed": 7}
    assert generate(server, BLS, text_input="one two", max_tokens=2, **asked)["text_output"] == "one two"


def test_iterations_are_on_triton_s_metrics(server: LiveServer) -> None:
    generate(server, BLS, text_input="one two", max_tokens=200)
    assert becomes(lambda: engine_metrics(server).get("prefix_cache_queries_total", 0) == 320, 10)
    found = engine_metrics(server)
    assert (found["prefix_cache_hits_total"], found["kv_cache_usage"]) == (128, 0.25)


def test_three_hundred_at_once_with_sixty_four_slots(server: LiveServer) -> None:
    check_crowd(server, 300)


def test_one_sequence_that_fails_fails_alone(server: LiveServer) -> None:
    check_failure(server, FAIL)


def test_killed_workers_are_started_again_and_their_callers_are_told(server: LiveServer) -> None:
    """Although TensorRT-LLM's own exit waits for them for ever."""
    with pytest.raises(Refused):
        generate(server, BLS, input_ids=[KILLED], max_tokens=4)
    assert becomes(lambda: answers_again(server), 40)
