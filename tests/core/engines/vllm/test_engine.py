"""The vLLM engine on a vLLM that computes nothing: chunks, ends, refusals, statistics, and a core that dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.engines.vllm.engine import VllmEngine
from qwen_triton.engines.vllm.options import VllmOptions
from qwen_triton.errors import ConfigurationError, InvalidRequest
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams
from tests.support.fake_vllm import VERSIONS, write_fake_vllm
from tests.support.gpu_library import forget, write_adapter
from tests.support.gpu_library.sequences import ids, request, run

FAIL, DIE, KILLED = 150_900, 150_902, 150_903


@pytest.fixture(params=VERSIONS)
def vllm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A vLLM of each version on the path of this process, and of this test only."""
    monkeypatch.syspath_prepend(str(write_fake_vllm(tmp_path / "library", request.param)))
    yield
    forget("vllm")


@pytest.fixture
def engine(vllm: None, tmp_path: Path) -> Iterator[VllmEngine]:  # noqa: ARG001  the fixture must come first
    engine = VllmEngine(VllmOptions(str(tmp_path), max_num_seqs=4))
    yield engine
    engine.close()


def test_the_engine_says_what_vllm_says(engine: VllmEngine) -> None:
    assert (engine.info.name, engine.info.max_context, engine.info.vocab_size) == ("vllm", 2048, 151_936)


def test_an_answer_of_max_tokens(engine: VllmEngine) -> None:
    engine.add(1, request((5, 6, 7), max_tokens=4))
    chunks = run(engine)[1]
    assert ids(chunks) == [5, 6, 7, 5]
    assert (chunks[-1].finish, chunks[-1].stop_token) == ("length", None)
    assert [chunk.cached_tokens for chunk in chunks if chunk.token_ids] == [1, 0, 0, 0]


@pytest.mark.parametrize(("ends", "stops"), [((7,), ()), ((), (7,))])
def test_an_end_id_is_the_stop_and_no_token(engine: VllmEngine, ends: tuple[int, ...], stops: tuple[int, ...]) -> None:
    engine.add(1, request((5, 6, 7), ends, stops))
    chunks = run(engine)[1]
    assert (ids(chunks), chunks[-1].finish, chunks[-1].stop_token) == ([5, 6], "stop", 7)


def test_min_tokens_beyond_the_room_ends_with_the_context(engine: VllmEngine) -> None:
    """0.26 would go on for ever with more min_tokens than there is room."""
    engine.add(1, request(tuple(range(20, 40)) * 102, max_tokens=5000, min_tokens=4000))
    assert len(ids(run(engine)[1])) == 2048 - 2040


def test_many_sequences_with_few_slots(engine: VllmEngine) -> None:
    for key in range(1, 21):
        engine.add(key, request((key, key + 100), max_tokens=3))
    chunks = run(engine, 20)
    assert {key: ids(c) for key, c in chunks.items()} == {k: [k, k + 100, k] for k in range(1, 21)}
    assert (engine.counters.requests, engine.counters.finished, engine.counters.tokens) == (20, 20, 60)


def test_log_probs_are_cut_to_what_the_sequence_wants(engine: VllmEngine) -> None:
    engine.add(1, request((5,), max_tokens=1, logprobs=2))
    engine.add(2, request((6,), max_tokens=1, logprobs=0))
    engine.add(3, request((7,), max_tokens=1))
    chunks = run(engine, 3)
    assert (chunks[1][0].log_probs, chunks[1][0].top_log_probs) == ([-0.25], [[(0, -0.5), (1, -0.75)]])
    assert (chunks[2][0].log_probs, chunks[2][0].top_log_probs) == ([-0.25], [])
    assert (chunks[3][0].log_probs, chunks[3][0].top_log_probs) == ([], [])


def test_the_stop_id_s_log_prob_is_left_out(engine: VllmEngine) -> None:
    engine.add(1, request((5, 7), (7,), logprobs=0))
    assert [p for chunk in run(engine)[1] for p in chunk.log_probs] == [-0.25]


def test_log_probs_of_a_prompt_come_with_its_first_chunk(engine: VllmEngine) -> None:
    """Cut to what the sequence wants; a prompt of one token has none."""
    engine.add(1, request((5, 6), max_tokens=2, prompt_logprobs=1))
    engine.add(2, request((5, 6), max_tokens=2, prompt_logprobs=0))
    engine.add(3, request((5,), max_tokens=2, prompt_logprobs=1))
    engine.add(4, request((5, 6), max_tokens=2))
    chunks = run(engine, 4)
    assert [chunk.prompt for chunk in chunks[1]] == [PromptLogProbs([-0.125], [[(0, -0.25)]]), None]
    assert chunks[2][0].prompt == PromptLogProbs([-0.125], [])
    assert chunks[3][0].prompt == PromptLogProbs()
    assert [chunk.prompt for chunk in chunks[4]] == [None, None]


def test_counters(engine: VllmEngine) -> None:
    engine.add(1, request((5,), max_tokens=3))
    run(engine)
    counters = engine.counters
    assert counters.steps == 3
    assert (counters.started, round(counters.queue_s, 2)) == (1, 0.25)
    assert (counters.extra["kv_cache_usage"], counters.extra["preemptions"]) == (0.5, 1.0)
    assert (counters.extra["prefix_cache_queries"], counters.extra["prefix_cache_hits"]) == (10.0, 4.0)


def test_a_cancelled_sequence_has_no_chunk_more(engine: VllmEngine) -> None:
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
    assert (engine.counters.cancelled, engine.wait_s()) == (1, None)


def test_a_failed_sequence_fails_alone(engine: VllmEngine) -> None:
    engine.add(1, request((FAIL,)))
    engine.add(2, request((6,), max_tokens=2))
    chunks = run(engine, 2)
    assert chunks[1][-1].finish == "error"
    assert chunks[1][-1].error == "vLLM could not go on with it; the engine's log says why"
    assert ids(chunks[2]) == [6, 6]


@pytest.mark.parametrize("death", [DIE, KILLED])
def test_a_dead_core_ends_the_process(engine: VllmEngine, death: int) -> None:
    """By an exception of its own, and when it is killed and can say nothing."""
    engine.add(1, request((death,)))
    with pytest.raises(SystemExit, match="vLLM's engine core has ended"):
        run(engine)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (request((151_936,)), "input_ids", r"token ids must be in \[0, 151936\)"),
        (request((1,) * 2048), "input_ids", "must have 1 to 2047 tokens, got 2048"),
        (request((1,), stops=(151_936,)), "stop_token_ids", r"token ids must be in \[0, 151936\)"),
        (request((1,), temperature=3.0), "temperature", "the vllm engine takes at most 2, got 3"),
        (request((1,), priority=1), "priority", "needs engine.scheduling_policy: priority"),
        (
            request((1,), stops=tuple(range(129)), min_tokens=1),
            "stop_token_ids",
            "at most 128 with min_tokens, got 129",
        ),
    ],
)
def test_what_would_end_the_core_is_refused_before(
    engine: VllmEngine, wrong: EngineRequest, field: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as refusal:
        engine.add(1, wrong)
    assert refusal.value.field == field
    assert engine.wait_s() is None


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"bias": dict.fromkeys(range(999), 1.0) | {151_936: 1.0}}, "logit_bias", "token ids"),
        (
            {"bad_words": tuple((i,) for i in range(129))},
            "bad_words",
            "at most 128 words of 1024 tokens, got 129 of 129",
        ),
        ({"bias": {5: float("nan")}}, "logit_bias", "a bias must be a finite number"),
        ({"bad_words": ((1,) * 1025,)}, "bad_words", "at most 128 words of 1024 tokens, got 1 of 1025"),
    ],
)
def test_biases_and_bad_words_have_bounds(engine: VllmEngine, changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refusal:
        engine.add(1, EngineRequest((1,), SamplingParams(max_tokens=1, seed=1), **changes))
    assert refusal.value.field == field


def test_a_seed_beyond_63_bits_is_folded(engine: VllmEngine) -> None:
    """vLLM's workers hold it as a signed number of 64 bits."""
    engine.add(1, request((5,), seed=2**64 - 1, temperature=1.0, max_tokens=1))
    assert ids(run(engine)[1]) == [5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantization": "none such"}, "vLLM does not start: Unknown quantization method: none such"),
        ({"extra": {"no_such": 1}}, "vLLM does not start: .*unexpected keyword argument 'no_such'"),
    ],
)
@pytest.mark.usefixtures("vllm")
def test_what_vllm_refuses_is_said_in_its_words(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        VllmEngine(VllmOptions(str(tmp_path), **options))


@pytest.mark.parametrize(
    ("found", "words"), [("0.25.1", "vllm 0.25.1 is not supported; install 0.26 to 0.33"), ("0.34.0", "0.34.0")]
)
def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, words: str) -> None:
    monkeypatch.syspath_prepend(str(write_fake_vllm(tmp_path / "library", found)))
    with pytest.raises(ConfigurationError, match=words):
        VllmEngine(VllmOptions(str(tmp_path)))


def test_without_vllm_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`make vllm` installs it"):
        VllmEngine(VllmOptions(str(tmp_path)))


@pytest.fixture
def adapters(vllm: None, tmp_path: Path) -> Iterator[VllmEngine]:  # noqa: ARG001  the fixture must come first
    lora = {"pirate": write_adapter(tmp_path / "a"), "team/poet": write_adapter(tmp_path / "b", r=20)}
    engine = VllmEngine(VllmOptions(str(tmp_path), lora=lora, scheduling_policy="priority"))
    yield engine
    engine.close()


def test_a_request_names_its_adapter(adapters: VllmEngine) -> None:
    """The fake raises each id by the adapter's number."""
    assert adapters.info.adapters == ("pirate", "team/poet")
    for key, name in enumerate((None, "pirate", "team/poet")):
        adapters.add(key, replace(request((5, 6), max_tokens=2), lora_name=name))
    assert {key: ids(chunks) for key, chunks in run(adapters, 3).items()} == {0: [5, 6], 1: [6, 7], 2: [7, 8]}
    with pytest.raises(InvalidRequest, match=r"^lora_name: no adapter has this name; there are pirate, team/poet"):
        adapters.add(9, replace(request((5,)), lora_name="sailor"))


def test_an_engine_without_adapters_refuses_their_names(engine: VllmEngine) -> None:
    with pytest.raises(InvalidRequest, match=r"^lora_name: this server has no adapters \(engine.lora"):
        engine.add(1, replace(request((5,)), lora_name="pirate"))


def test_a_priority_reaches_the_core(adapters: VllmEngine) -> None:
    for key, priority in enumerate((None, -3, 7)):
        adapters.add(key, request((5,), max_tokens=1, priority=priority))
    run(adapters, 3)
    client: Any = adapters._core._client
    assert [one.priority for one in client.requests] == [0, -3, 7]


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("refused", "engine.lora.a: vLLM does not load it: Call to add_lora method failed: While loading it"),
        ("deadly", "engine.lora.a: vLLM does not load it: its engine core has ended"),
    ],
)
@pytest.mark.usefixtures("vllm")
def test_an_adapter_that_vllm_does_not_load_is_named(tmp_path: Path, folder: str, words: str) -> None:
    lora = {"a": write_adapter(tmp_path / folder)}
    with pytest.raises(ConfigurationError, match=words):
        VllmEngine(VllmOptions(str(tmp_path), lora=lora))


def test_ranks_of_single_modules_need_a_version_that_honours_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(write_fake_vllm(tmp_path / "library", "0.26.0")))
    options = VllmOptions(str(tmp_path), lora={"a": write_adapter(tmp_path / "a", rank_pattern={"q_proj": 4})})
    with pytest.raises(ConfigurationError, match=r"engine.lora.a: rank_pattern and alpha_pattern need vLLM 0.33"):
        VllmEngine(options)
    forget("vllm")


@pytest.mark.parametrize(("field", "asked"), [("min_p", {"min_p": 0.1}), ("logit_bias", {})])
@pytest.mark.usefixtures("vllm")
def test_what_speculative_decoding_does_not_take(tmp_path: Path, field: str, asked: dict[str, Any]) -> None:
    engine = VllmEngine(VllmOptions(str(tmp_path), speculative_config={"method": "ngram"}))
    wrong = replace(request((5,), **asked), bias={} if asked else {5: 1.0})
    with pytest.raises(InvalidRequest, match=f"^{field}: not with speculative decoding"):
        engine.add(1, wrong)
    engine.close()


def test_a_grammar_goes_to_the_core_where_the_model_has_a_tokenizer(vllm: None, tmp_path: Path) -> None:  # noqa: ARG001  first
    """By xgrammar, checked before the core sees it."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer.json").touch()
    engine = VllmEngine(VllmOptions(str(model)))
    assert engine.info.forms == "text"
    engine.add(1, replace(request((5,)), grammar='root ::= "a"\n'))
    assert ids(run(engine)[1]) == [5] * 8
    with pytest.raises(
        InvalidRequest, match=r"^guided_decoding_guide: vLLM cannot keep it: Invalid grammar specification"
    ):
        engine.add(2, replace(request((5,)), grammar="a ::= b"))
    engine.close()


def test_without_a_tokenizer_no_grammar_is_kept(engine: VllmEngine) -> None:
    assert engine.info.forms == ""


def test_sequences_that_arrive_after_another_begin_together(vllm: None, tmp_path: Path) -> None:  # noqa: ARG001
    """One that was cancelled meanwhile never reaches the core."""
    engine = VllmEngine(VllmOptions(str(tmp_path), arrival_pause_ms=300))
    try:
        engine.add(1, request((5, 6, 7), max_tokens=1))
        assert ids(run(engine)[1]) == [5]
        began = time.monotonic()
        for key in (2, 3, 4):
            engine.add(key, request((5, 6, 7), max_tokens=1))
        engine.cancel(3)
        chunks = run(engine, 2)
        assert time.monotonic() - began > 0.2
        assert {key: ids(found) for key, found in chunks.items()} == {2: [5], 4: [5]}
        assert [one.request_id for one in engine._core._client.requests] == ["1", "2", "4"]
        assert engine.counters.extra["prompt_steps"] in (2, 3)
    finally:
        engine.close()
