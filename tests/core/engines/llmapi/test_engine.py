"""The llmapi engine on a TensorRT-LLM that computes nothing: chunks, ends, refusals, statistics, and workers that die."""

from __future__ import annotations

import atexit
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.engines.llmapi.engine import LlmapiEngine
from qwen_triton.engines.llmapi.options import LlmapiOptions
from qwen_triton.errors import ConfigurationError, InvalidRequest
from qwen_triton.types import EngineRequest
from tests.support.fake_llmapi import LIBRARIES, VERSIONS, write_fake_llmapi
from tests.support.folders import ROOT
from tests.support.gpu_library import forget, write_adapter
from tests.support.gpu_library.sequences import ids, request, run

FAIL, DIE, KILLED = 150_900, 150_902, 150_903
Start = Callable[..., LlmapiEngine]


@pytest.fixture(params=VERSIONS)
def start(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts engines on a TensorRT-LLM of each version, which is on the path of this test only, and closes them."""
    monkeypatch.syspath_prepend(str(write_fake_llmapi(tmp_path / "library", request.param)))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"max_position_embeddings": 2048, "vocab_size": 151_936}))
    engines = []

    def start(**options: Any) -> LlmapiEngine:
        engines.append(LlmapiEngine(LlmapiOptions(str(model), **options)))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()
        atexit.unregister(llm(engine).shutdown)
    forget(*LIBRARIES)


@pytest.fixture
def engine(start: Start) -> LlmapiEngine:
    return start(max_batch_size=4)


def llm(engine: LlmapiEngine) -> Any:
    return engine._core._llm


def is_newer(engine: LlmapiEngine) -> bool:
    return engine.info.seeds


def test_the_engine_says_what_the_checkpoint_says(engine: LlmapiEngine) -> None:
    info = engine.info
    assert (info.name, info.max_context, info.vocab_size, info.forms) == ("llmapi", 2048, 151_936, "")
    assert info.honours[-1] == "top_logprobs"


def test_the_llm_is_started_for_ids(start: Start, tmp_path: Path) -> None:
    engine = start(tensor_parallel_size=2, kv_cache_config={"free_gpu_memory_fraction": 0.8}, extra={"moe_config": {}})
    arguments = dict(llm(engine).arguments)
    assert vars(arguments.pop("kv_cache_config")) == {"free_gpu_memory_fraction": 0.8}
    assert arguments == {
        "model": str(tmp_path / "model"),
        "tensor_parallel_size": 2,
        "moe_config": {},
        "skip_tokenizer_init": True,
        "enable_iter_perf_stats": True,
    }


def test_an_answer_of_max_tokens(engine: LlmapiEngine) -> None:
    engine.add(1, request((5, 6, 7), max_tokens=4))
    chunks = run(engine)[1]
    assert ids(chunks) == [5, 6, 7, 5]
    assert (chunks[-1].finish, chunks[-1].stop_token) == ("length", None)
    assert [chunk.cached_tokens for chunk in chunks if chunk.token_ids] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("ends", "stops", "end"), [((7,), (), 7), ((), (7,), 7), ((8, 7), (), 7), ((8, 9), (3, 7), 7), ((6, 7), (), 6)]
)
def test_an_end_id_is_the_stop_and_no_token(
    engine: LlmapiEngine, ends: tuple[int, ...], stops: tuple[int, ...], end: int
) -> None:
    """The first end id stands at the end of TensorRT-LLM's tokens, another is cut from them."""
    engine.add(1, request((5, 6, 7), ends, stops))
    chunks = run(engine)[1]
    assert (ids(chunks), chunks[-1].finish, chunks[-1].stop_token) == ([5, 6][: (5, 6, 7).index(end)], "stop", end)


def test_ends_are_kept_back_until_min_tokens(start: Start) -> None:
    """TensorRT-LLM keeps back its end id; the checkpoint's other one does not come at all."""
    engine = start(sampler_type="TRTLLMSampler") if not is_newer(start()) else start()
    engine.add(1, request((5, 7, 8), (7, 8), min_tokens=4, max_tokens=8))
    chunks = run(engine)[1]
    assert (ids(chunks), chunks[-1].stop_token) == ([5, 7, 0, 5], 7)
    with pytest.raises(
        InvalidRequest, match=r"^stop_token_ids: not with min_tokens: this engine keeps back one end id"
    ):
        engine.add(2, request((5,), (7,), (8,), min_tokens=2))


def test_a_length_beyond_the_room_ends_with_the_context(engine: LlmapiEngine) -> None:
    engine.add(1, request(tuple(range(20, 40)) * 102, max_tokens=5000))
    assert len(ids(run(engine)[1])) == 2048 - 2040


def test_many_sequences_with_few_slots(engine: LlmapiEngine) -> None:
    for key in range(1, 21):
        engine.add(key, request((key, key + 100), max_tokens=3))
    chunks = run(engine, 20)
    assert {key: ids(c) for key, c in chunks.items()} == {k: [k, k + 100, k] for k in range(1, 21)}
    assert (engine.counters.requests, engine.counters.finished, engine.counters.tokens) == (20, 20, 60)


def test_log_probs_of_the_chosen_token_and_of_others(engine: LlmapiEngine) -> None:
    """None, of the chosen one alone (TensorRT-LLM has one at least), and of as many of the likeliest as are asked for."""
    for key, wanted in enumerate((None, 0, 2)):
        engine.add(key, request((5,), max_tokens=1, logprobs=wanted))
    chunks = run(engine, 3)
    assert (chunks[0][0].log_probs, chunks[0][0].top_log_probs) == ([], [])
    assert (chunks[1][0].log_probs, chunks[1][0].top_log_probs) == ([-0.25], [])
    assert (chunks[2][0].log_probs, chunks[2][0].top_log_probs) == ([-0.25], [[(5, -0.25), (0, -0.5)]])


def test_the_stop_id_s_log_prob_is_left_out(engine: LlmapiEngine) -> None:
    for key, ends in enumerate(((7,), (9, 7))):
        engine.add(key, request((5, 7), ends, logprobs=0))
    found = run(engine, 2)
    assert [[p for chunk in found[key] for p in chunk.log_probs] for key in (0, 1)] == [[-0.25], [-0.25]]


def test_counters(engine: LlmapiEngine) -> None:
    engine.add(1, request((5,), max_tokens=2000))
    deadline = time.monotonic() + 10
    while not engine.counters.steps:
        assert time.monotonic() < deadline
        engine.step()
    assert (engine.counters.running, engine.counters.waiting) == (1, 0)
    assert engine.counters.extra == {"kv_cache_usage": 0.25, "prefix_cache_hits": 128, "prefix_cache_queries": 320}


def test_a_cancelled_sequence_is_aborted_and_has_no_chunk_more(engine: LlmapiEngine) -> None:
    engine.add(1, request((5,), max_tokens=2000))
    engine.add(
        2, request((6,), max_tokens=300)
    )  # so many that it cannot end in the first step, however busy the machine
    while not engine.step():
        pass
    engine.cancel(1)
    engine.cancel(1)
    chunks = run(engine, 1)
    assert set(chunks) == {2}
    assert (engine.counters.cancelled, engine.wait_s(), llm(engine)._executor.aborted) == (1, None, [1])


def test_a_failed_sequence_fails_alone(engine: LlmapiEngine) -> None:
    engine.add(1, request((FAIL,)))
    engine.add(2, request((6,), max_tokens=2))
    chunks = run(engine, 2)
    assert chunks[1][-1].finish == "error"
    assert chunks[1][-1].error == "TensorRT-LLM: Encountered an error in forward function: other target modules"
    assert ids(chunks[2]) == [6, 6]


@pytest.mark.parametrize(
    ("death", "words"),
    [(DIE, "RuntimeError: CUDA error: an illegal memory access"), (KILLED, "its workers have ended")],
)
def test_dead_workers_end_the_process(engine: LlmapiEngine, death: int, words: str) -> None:
    """By an exception of their own, and when they are killed and can say nothing."""
    engine.add(1, request((death,)))
    with pytest.raises(SystemExit, match=f"TensorRT-LLM has ended: {words}"):
        run(engine)


def test_workers_that_died_while_idle_end_the_process_with_the_next_request(engine: LlmapiEngine) -> None:
    engine.add(1, request((KILLED,)))
    deadline = time.monotonic() + 10
    while not llm(engine)._executor.killed:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    engine.cancel(1)
    while not engine._core._ended:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    engine.add(2, request((5,)))
    with pytest.raises(SystemExit, match="TensorRT-LLM has ended: its workers have ended"):
        run(engine)


LEFT_ALONE = """
import sys, time
from qwen_triton.engines.llmapi.engine import LlmapiEngine
from qwen_triton.engines.llmapi.options import LlmapiOptions
from qwen_triton.types import EngineRequest, SamplingParams
engine = LlmapiEngine(LlmapiOptions(sys.argv[1]))
engine.add(1, EngineRequest((150_903,), SamplingParams(max_tokens=8, seed=1)))
while not engine._core._llm._executor.killed:
    time.sleep(0.001)
engine.cancel(1)
time.sleep(60)
"""


def test_a_process_that_nobody_asks_ends_with_its_workers(start: Start, tmp_path: Path) -> None:
    """Although upstream's exit waits for them for ever: the supervisor starts both again before the next request."""
    start()
    path = f"{ROOT / 'backend_src'}:{tmp_path / 'library'}"
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LEFT_ALONE, str(tmp_path / "model")], env={"PYTHONPATH": path}, check=False, timeout=60
    )
    assert done.returncode == 1
    assert time.monotonic() - begun < 50


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (request((151_936,)), "input_ids", r"token ids must be in \[0, 151936\)"),
        (request((1,) * 2048), "input_ids", "must have 1 to 2047 tokens, got 2048"),
        (
            request((1,) * 600),
            "input_ids",
            "at most 512 tokens, got 600; the deployment may have a higher engine.max_num_t",
        ),
        (request((1,), stops=(151_936,)), "stop_token_ids", r"token ids must be in \[0, 151936\)"),
        (request((1,), stops=tuple(range(129))), "stop_token_ids", "at most 128, got 129"),
        (request((1,), beam_width=2), "beam_width", "the llmapi engine does not support it"),
        (request((1,), prompt_logprobs=1), "prompt_logprobs", "the llmapi engine does not support it"),
        (request((1,), priority=1), "priority", "the llmapi engine does not support it"),
        (replace(request((1,)), lora_name="a"), "lora_name", r"this server has no adapters \(engine.lora"),
        (replace(request((1,)), bias={151_936: 1.0}), "logit_bias", r"token ids must be in \[0, 151936\)"),
        (replace(request((1,)), bias={5: float("nan")}), "logit_bias", "a bias must be a finite number"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(start: Start, wrong: EngineRequest, field: str, words: str) -> None:
    engine = start(max_num_tokens=512)
    with pytest.raises(InvalidRequest, match=f"^{field}: {words}"):
        engine.add(1, wrong)
    assert engine.wait_s() is None


def test_what_the_llm_itself_refuses_is_said_in_its_words(engine: LlmapiEngine) -> None:
    """From its sampling parameters, and from the call."""
    llm(engine).arguments["max_num_tokens"] = 3
    with pytest.raises(
        InvalidRequest, match=r"^sampling: The sum of prompt length \(4\) should not exceed max_num_tokens"
    ):
        engine.add(1, request((1, 2, 3, 4)))
    engine.add(2, request((1, 2), max_tokens=1))
    assert ids(run(engine)[2]) == [1]


def test_long_prompts_are_taken_in_chunks(start: Start) -> None:
    engine = start(max_num_tokens=512, enable_chunked_prefill=True)
    engine.add(1, request((1,) * 600, max_tokens=1))
    assert ids(run(engine)[1]) == [1]


SAMPLER_S = {
    "min_tokens": 2,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "min_p": 0.1,
}


@pytest.mark.parametrize("name", SAMPLER_S)
def test_what_only_some_samplers_honour(start: Start, name: str) -> None:
    """1.2's default passes over it without a word; so does every one of a model that guesses tokens."""
    asked = request((5,), (9,), temperature=1.0, **{name: SAMPLER_S[name]})
    engine = start()
    if is_newer(engine):
        engine.add(1, asked)
        with pytest.raises(
            ConfigurationError, match=r"engine.sampler_type: TRTLLMSampler is in TensorRT-LLM 1.2 alone"
        ):
            start(sampler_type="TRTLLMSampler")
    else:
        with pytest.raises(
            InvalidRequest, match=f"^{name}: needs engine.sampler_type: TRTLLMSampler with TensorRT-LLM 1.2"
        ):
            engine.add(1, asked)
        engine = start(sampler_type="TRTLLMSampler")
        engine.add(1, asked)
        with pytest.raises(InvalidRequest, match=r"^top_logprobs: needs engine.sampler_type: TorchSampler"):
            engine.add(2, request((5,), logprobs=1))
    (made,) = llm(engine)._executor.requests
    assert getattr(made.sampling_params, name) == SAMPLER_S[name]
    guessing = start(speculative_config={"decoding_type": "NGram", "max_draft_len": 4})
    with pytest.raises(InvalidRequest, match=f"^{name}: needs .* no speculative decoding"):
        guessing.add(1, asked)


def test_bad_words_are_tokens(start: Start) -> None:
    engine = start()
    if not is_newer(engine):
        engine = start(sampler_type="TRTLLMSampler")
    engine.add(1, replace(request((5, 6), max_tokens=2), bad_words=((5,),)))
    assert ids(run(engine)[1]) == [0, 6]
    with pytest.raises(InvalidRequest, match=r"^bad_words: this engine takes words of one token, got one of 2"):
        engine.add(2, replace(request((5,)), bad_words=((5,), (5, 6))))


def test_biases_reach_the_workers(engine: LlmapiEngine) -> None:
    engine.add(1, replace(request((5, 6), max_tokens=2000), bias={5: -100.0, 7: 2.5}))
    (made,) = llm(engine)._executor.requests
    bias = made.sampling_params.embedding_bias
    assert (bias.shape, str(bias.dtype), bias[5], bias[7], bias[6]) == ((151_936,), "float32", -100.0, 2.5, 0.0)


@pytest.mark.parametrize(
    ("sampling", "made"),
    [
        ({}, {"top_k": 1, "temperature": None, "top_p": None, "seed": None}),
        ({"temperature": 0.0, "top_p": 0.5}, {"top_k": 1, "temperature": None, "top_p": None}),
        ({"top_p": 0.5}, {"top_k": 0, "temperature": 1.0, "top_p": 0.5, "seed": 1}),
        ({"temperature": 0.7, "top_k": 20, "seed": 2**64 - 1}, {"top_k": 20, "temperature": 0.7, "seed": 2**63 - 1}),
    ],
)
def test_the_choice_of_a_token(engine: LlmapiEngine, sampling: dict[str, Any], made: dict[str, Any]) -> None:
    """TensorRT-LLM would be greedy where only some are given; a seed is a signed number of 64 bits there."""
    engine.add(1, request((5,), max_tokens=2000, **sampling))
    (found,) = llm(engine)._executor.requests
    assert {name: getattr(found.sampling_params, name) for name in made} == made
    assert (found.sampling_params.detokenize, found.sampling_params.n, found.sampling_params.stop) == (False, 1, None)


def test_a_grammar_goes_to_the_workers_where_they_keep_one(start: Start, tmp_path: Path) -> None:
    """Read before by xgrammar, since the workers would end with one that it cannot read."""
    with pytest.raises(
        ConfigurationError, match=r"engine.guided_decoding_backend: .*/tokenizer.json: no such file; give"
    ):
        start(guided_decoding_backend="xgrammar")
    (tmp_path / "model" / "tokenizer.json").touch()
    engine = start(guided_decoding_backend="xgrammar")
    assert (engine.info.forms, llm(engine).arguments["skip_tokenizer_init"]) == ("text", False)
    engine.add(1, replace(request((5,), max_tokens=2000), grammar='root ::= "a"\n'))
    (made,) = llm(engine)._executor.requests
    assert made.sampling_params.guided_decoding.grammar == 'root ::= "a"\n'
    with pytest.raises(InvalidRequest, match=r"^guided_decoding_guide: EBNF parser error"):
        engine.add(2, replace(request((5,)), grammar="a ::= b"))


def test_a_request_names_its_adapter(start: Start, tmp_path: Path) -> None:
    """The fake raises each id by the adapter's number."""
    lora = {
        "pirate": write_adapter(tmp_path / "a"),
        "poet": write_adapter(tmp_path / "b", r=20, target_modules=["o_proj"]),
    }
    engine = start(lora=lora)
    assert vars(llm(engine).arguments["lora_config"]) == {
        "lora_dir": [str(tmp_path / "a"), str(tmp_path / "b")],
        "lora_target_modules": ["attn_q", "attn_dense"],
        "max_lora_rank": 20,
        "max_loras": 2,
        "max_cpu_loras": 2,
    }
    assert engine.info.adapters == ("pirate", "poet")
    for key, name in enumerate((None, "pirate", "poet")):
        engine.add(key, replace(request((5, 6), max_tokens=2), lora_name=name))
    assert {key: ids(chunks) for key, chunks in run(engine, 3).items()} == {0: [5, 6], 1: [6, 7], 2: [7, 8]}
    with pytest.raises(InvalidRequest, match=r"^lora_name: no adapter has this name; there are pirate, poet"):
        engine.add(9, replace(request((5,)), lora_name="sailor"))


def test_an_adapter_that_is_not_served_is_named_at_the_start(start: Start, tmp_path: Path) -> None:
    """Workers load it with its first request, so each answers with a token before the engine is ready."""
    with pytest.raises(
        ConfigurationError, match=r"engine.lora.a: TensorRT-LLM does not serve it: Encountered an error"
    ):
        start(lora={"a": write_adapter(tmp_path / "refused")})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"extra": {"no_such": 1}},
            "TensorRT-LLM does not start: LLM got invalid argument: no_such; leave no_such out of engine.extra",
        ),
        (
            {"tensor_parallel_size": 8},
            "Only 4 GPUs are available, but 8 are required.; lower engine.tensor_parallel_size × pipeline_parallel_size",
        ),
        (
            {"attn_backend": "NO_MEMORY"},
            "TensorRT-LLM does not start: CUDA out of memory. Tried to allocate 2.00 GiB.; lower engine.max_batch_size",
        ),
    ],
)
def test_a_start_that_fails_has_the_cause_and_the_remedy(start: Start, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        start(**options)
    assert words in str(refusal.value)


def test_variables_of_another_mpi_job_are_left_behind(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake does not start in one, as Open MPI's spawn does not."""
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("PMIX_RANK", "1")
    assert start().info.name == "llmapi"


def test_a_release_without_a_keyword_is_refused_at_the_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorrt_llm

    signature = inspect.signature(tensorrt_llm.LLM.generate_async)
    fewer = signature.replace(parameters=[p for p in signature.parameters.values() if p.name != "lora_request"])
    monkeypatch.setattr(tensorrt_llm.LLM.generate_async, "__signature__", fewer)
    with pytest.raises(ConfigurationError, match=r"LLM.generate_async of this release takes no lora_request"):
        start()


def test_a_checkpoint_that_does_not_say_its_sizes(start: Start, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").write_text('{"vocab_size": 10}')
    with pytest.raises(ConfigurationError, match=r"config.json has no max_position_embeddings"):
        start()
    assert start(max_seq_len=100).info.max_context == 100


def test_without_tensorrt_llm_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 9, "vocab_size": 9}')
    with pytest.raises(
        ConfigurationError, match="tensorrt_llm is not installed in this interpreter; name one that has it"
    ):
        LlmapiEngine(LlmapiOptions(str(tmp_path)))
