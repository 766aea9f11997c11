"""The vLLM engine behind a real server, on a vLLM that computes nothing, in an interpreter of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import OpenAI

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.fake_vllm import write_fake_vllm
from tests.support.gpu_library import write_adapter, write_interpreter
from tests.support.live.client import Refused, generate, generate_stream
from tests.support.live.gpu_engines import (
    answers_again,
    check_adapter,
    check_crowd,
    check_failure,
    engine_metrics,
)
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, shimming
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
FAIL, KILLED = 150_900, 150_903
LONG = "and on " * 200


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    folder = tmp_path_factory.mktemp("vllm")
    python = write_interpreter(folder, write_fake_vllm(folder / "library"))
    write_adapter(folder / "pirate")
    engine = {
        "kind": "vllm",
        "python": str(python),
        "max_num_seqs": 64,
        "max_model_len": 2048,
        "scheduling_policy": "priority",
        "lora": {"pirate": str(folder / "pirate")},
    }
    return serve({"model": str(qwen25_folder), "engine": engine})


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize("text", ["one two three", "你好，世界 👩‍🚀!"])
def test_an_answer_through_the_whole_server(server: LiveServer, model: str, text: str) -> None:
    """The fake repeats the prompt for as long as it is asked to."""
    whole = generate(server, model, text_input=text, max_tokens=64, stop_words=[" end"])
    assert whole["text_output"].startswith(text)
    assert (whole["finish_reason"], whole["num_output_tokens"]) == ("length", 64)
    pieces = generate_stream(server, model, text_input=text, max_tokens=64, stream=True)
    assert "".join(piece["text_output"] for piece in pieces) == whole["text_output"]


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_an_adapter_answers_where_it_is_named(server: LiveServer, qwen25: Tokenizer, model: str) -> None:
    check_adapter(server, qwen25, model, "pirate", priority=-1)


def test_an_adapter_answers_in_ids(server: LiveServer) -> None:
    ask = {"input_ids": [5, 6], "input_lengths": 2, "request_output_len": 2, "exclude_input_in_output": True}
    assert generate(server, TENSORRT_LLM, **ask, lora_name="pirate")["output_ids"] == [6, 7]


def test_an_adapter_is_a_model_of_the_openai_server(server: LiveServer, qwen25: Tokenizer, tmp_path: Path) -> None:
    ids = qwen25.encode("one two three")
    with shimming(server, tmp_path) as shim, OpenAI(base_url=shim.v1, api_key="none") as client:
        listed = {model.id: model.to_dict() for model in client.models.list()}
        assert list(listed) == [MODEL, "pirate"]
        assert listed["pirate"]["parent"] == MODEL
        texts = [
            client.completions.create(model=name, prompt="one two three", max_tokens=len(ids)).choices[0].text
            for name in listed
        ]
    assert texts == ["one two three", qwen25.decode([token + 1 for token in ids])]


def test_log_probs_of_a_prompt(server: LiveServer) -> None:
    answer = generate(server, BLS, text_input="one two", max_tokens=1, prompt_logprobs=0)
    assert answer["prompt_log_probs"] == [0.0, -0.125]


def test_the_core_s_statistics_are_on_triton_s_metrics(server: LiveServer) -> None:
    """Of each request the fake says that 4 of 10 tokens were found and that it was preempted once."""

    generate(server, BLS, text_input="one two", max_tokens=1)
    assert becomes(lambda: engine_metrics(server).get("prefix_cache_queries_total", 0) > 0, 10)
    found = engine_metrics(server)
    assert found["prefix_cache_hits_total"] == 0.4 * found["prefix_cache_queries_total"]
    assert found["preemptions_total"] == found["prefix_cache_queries_total"] / 10
    assert found["kv_cache_usage"] == 0.5


def test_three_hundred_at_once_with_sixty_four_slots(server: LiveServer) -> None:
    check_crowd(server, 300)


def test_one_sequence_that_fails_fails_alone(server: LiveServer) -> None:
    check_failure(server, FAIL)


def test_log_probs_and_cached_tokens(server: LiveServer) -> None:
    answer = generate(server, BLS, text_input="one two", max_tokens=2, return_log_probs=True, top_logprobs=1)
    assert answer["output_log_probs"] == [-0.25, -0.25]
    assert answer["num_cached_tokens"] == 1


def test_a_killed_core_is_started_again_and_its_callers_are_told(server: LiveServer) -> None:
    with pytest.raises(Refused):
        generate(server, BLS, input_ids=[KILLED], max_tokens=4)
    assert becomes(lambda: answers_again(server), 30)
