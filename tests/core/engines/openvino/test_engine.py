"""The CPU engine on small checkpoints: equal to transformers, in any company, and in order after every fault."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openvino_genai as genai
import pytest

from qwen_triton.checkpoint.weights import Checkpoint
from qwen_triton.engines.openvino.convert import convert
from qwen_triton.engines.openvino.engine import OpenVinoEngine
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.engines.openvino.prompt_scorer import PromptScorer
from qwen_triton.engines.openvino.weight_nodes import quantise_rows
from qwen_triton.errors import ConfigurationError, InvalidRequest
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams, TokenChunk
from tests.support.checkpoints import CONFIGS, long_prompt, prompts, write_checkpoint, write_safetensors
from tests.support.folders import DATA

TABLE = json.loads((DATA / "openvino_greedy.json").read_text())["checkpoints"]
PROMPTS = prompts(96)
NAME = "qwen2-untied-f32"
KEYS = iter(range(10**9))


@dataclass
class Answer:
    """All that came for one request."""

    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    chunks: list[TokenChunk] = field(default_factory=list)

    @property
    def last(self) -> TokenChunk:
        return self.chunks[-1]


def drain(engine: OpenVinoEngine, answers: dict[int, Answer], steps: int = 3000) -> None:
    """Steps until the engine has nothing more to do."""
    while engine.wait_s() is not None:
        assert steps > 0, "the engine does not come to an end"
        for key, chunk in engine.step():
            answers[key].token_ids += chunk.token_ids
            answers[key].log_probs += chunk.log_probs
            answers[key].chunks.append(chunk)
        steps -= 1


def run(engine: OpenVinoEngine, *requests: EngineRequest) -> list[Answer]:
    """The answers to requests that are sent all at once."""
    answers = {next(KEYS): Answer() for _ in requests}
    for key, request in zip(answers, requests, strict=True):
        engine.add(key, request)
    drain(engine, answers)
    return list(answers.values())


def ask(prompt: Sequence[int], max_tokens: int = 48, **sampling: Any) -> EngineRequest:
    return EngineRequest(tuple(prompt), SamplingParams(max_tokens=max_tokens, **sampling))


def greedy(name: str) -> list[tuple[list[int], dict[str, Any]]]:
    """Prompts with what transformers answered."""
    return [(PROMPTS[row["prompt"]], row) for row in TABLE[name]["greedy"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints, one folder each, and a cache for their conversions."""
    root = tmp_path_factory.mktemp("openvino")
    for name in CONFIGS:
        write_checkpoint(root / name, name)
    return root


Load = Callable[..., OpenVinoEngine]


@pytest.fixture(scope="module")
def load(folder: Path) -> Load:
    """Loads an engine on one of the checkpoints; anything else are its options."""

    def load_engine(name: str = NAME, build: Any = genai.ContinuousBatchingPipeline, **options: Any) -> OpenVinoEngine:
        own = {"model": str(folder / name), "conversion_cache": str(folder / "cache")} | options
        return OpenVinoEngine(OpenVinoOptions(**own), build)

    return load_engine


@pytest.fixture(scope="module")
def engine(load: Load) -> Iterator[OpenVinoEngine]:
    loaded = load(max_num_seqs=64)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_output_equals_transformers_alone_and_in_a_batch(name: str, load: Load) -> None:
    """24 prompts of different lengths give transformers' ids, one after another and all at once, log probs as well."""
    engine, table = load(name), greedy(name)
    requests = [ask(prompt, logprobs=0) for prompt, _ in table]
    steps = engine.counters.steps
    batch = run(engine, *requests)
    assert engine.counters.steps - steps < 60, "24 at once take hardly more steps than one"
    alone = [run(engine, request)[0] for request in requests]
    expected = [row["ids"] for _, row in table]
    assert [answer.token_ids for answer in alone] == expected
    assert [answer.token_ids for answer in batch] == expected
    for answers in (alone, batch):
        for answer, (_, row) in zip(answers, table, strict=True):
            assert answer.log_probs == pytest.approx(row["log_probs"], abs=1e-3)
            assert answer.last.cum_log_prob == pytest.approx(sum(row["log_probs"]), abs=1e-2)
            assert answer.last.finish == "length"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_long_prompt_is_read_in_pieces(name: str, load: Load) -> None:
    """700 tokens with 64 or 256 a step give what transformers gives in one, after that many more steps."""
    row = TABLE[name]["long"]
    for size, pieces in ((64, 11), (256, 3)):
        engine = load(name, max_num_batched_tokens=size)
        answer = run(engine, ask(long_prompt(row["prompt"]), logprobs=0))[0]
        assert answer.token_ids == row["ids"]
        assert answer.log_probs == pytest.approx(row["log_probs"], abs=1e-3)
        assert engine.counters.steps == pieces + 47


@pytest.mark.parametrize("name", CONFIGS)
def test_log_probs_of_a_prompt_equal_transformers(name: str, load: Load) -> None:
    """Of 24 prompts with their answers behind them, alone and in company; the likeliest token is the one of the answer.

    They come with the first chunk, though the prompts are in the pipeline's cache the second time.
    """
    engine, table = load(name), greedy(name)
    requests = [ask([*prompt, *row["ids"]], 2, prompt_logprobs=2) for prompt, row in table]
    others = [ask(prompt, 8) for prompt, _ in table]
    for answers in (run(engine, *requests, *others), run(engine, *requests)):
        for answer, request, (prompt, row) in zip(answers, requests, table, strict=False):
            found = answer.chunks[0].prompt
            assert found is not None
            assert [chunk.prompt for chunk in answer.chunks[1:]] == [None] * (len(answer.chunks) - 1)
            assert len(found.log_probs) == len(found.top_log_probs) == len(request.token_ids) - 1
            assert found.log_probs[len(prompt) - 1 :] == pytest.approx(row["log_probs"], abs=1e-3)
            tops = found.top_log_probs[len(prompt) - 1 :]
            assert [(len(top), top[0][0]) for top in tops] == [(2, token) for token in row["ids"]]
            assert all(top[0][1] >= top[1][1] for top in tops)
            assert [top[0][1] for top in tops] == pytest.approx(row["log_probs"], abs=1e-3)


def test_log_probs_of_a_long_prompt_are_computed_in_parts(load: Load) -> None:
    """748 tokens; the other sequence goes on meanwhile, and a prompt of one token has none."""
    engine, row = load(), TABLE[NAME]["long"]
    prompt = [*long_prompt(row["prompt"]), *row["ids"]]
    answers = {key: Answer() for key in (next(KEYS), next(KEYS), next(KEYS))}
    scored, other, short = answers
    engine.add(scored, ask(prompt, 1, prompt_logprobs=0))
    engine.add(short, ask([5], 1, prompt_logprobs=3))
    engine.add(other, ask(PROMPTS[0], 6))
    assert engine.waits(scored)
    for _ in range(6):
        for key, chunk in engine.step():
            answers[key].chunks.append(chunk)
    assert (answers[other].last.finish, answers[scored].chunks) == ("length", [])
    drain(engine, answers)
    found, none = answers[scored].chunks[0].prompt, answers[short].chunks[0].prompt
    assert found is not None
    assert found.log_probs[-len(row["ids"]) :] == pytest.approx(row["log_probs"], abs=1e-3)
    assert (found.top_log_probs, none) == ((), PromptLogProbs([], []))


def test_a_sequence_that_waits_for_its_prompt_s_log_probs_can_be_cancelled(load: Load) -> None:
    """The one that is computed and one behind it; the third is answered."""
    engine, (prompt, row) = load(), greedy(NAME)[0]
    keys = [next(KEYS) for _ in range(3)]
    for key in keys:
        engine.add(key, ask([*long_prompt(0), *prompt, *row["ids"]], 1, prompt_logprobs=0))
    engine.step()
    for key in keys[:2]:
        engine.cancel(key)
    assert (engine.counters.cancelled, engine.counters.waiting) == (2, 1)
    answers = {keys[2]: Answer()}
    drain(engine, answers)
    assert answers[keys[2]].chunks[0].prompt is not None
    assert engine.counters.finished == 1


def test_a_failure_of_the_log_probs_is_an_error_of_who_waits_for_them(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are answered, and the next one that asks is too."""
    engine = load()

    def fails(_: PromptScorer) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(PromptScorer, "step", fails)
        failed, other = run(engine, ask(PROMPTS[0], 2, prompt_logprobs=0), ask(PROMPTS[1], 2))
    assert [(chunk.finish, chunk.error) for chunk in failed.chunks] == [("error", "no memory")]
    assert other.last.finish == "length"
    assert run(engine, ask(PROMPTS[0], 2, prompt_logprobs=0))[0].chunks[0].prompt is not None


def test_the_likeliest_token_of_a_greedy_answer_is_the_chosen_one(engine: OpenVinoEngine) -> None:
    """All that this engine can say of other tokens."""
    prompt, row = greedy(NAME)[0]
    [answer] = run(engine, ask(prompt, logprobs=1, temperature=0))
    tops = [top for chunk in answer.chunks for top in chunk.top_log_probs]
    assert [[token for token, _ in top] for top in tops] == [[token] for token in row["ids"]]
    assert [top[0][1] for top in tops] == pytest.approx(row["log_probs"], abs=1e-3)


def test_shards_answer_like_one_file(load: Load, folder: Path) -> None:
    """A checkpoint in three files is the same model."""
    write_checkpoint(folder / "sharded", NAME, shards=3)
    prompt, row = greedy(NAME)[5]
    assert run(load("sharded"), ask(prompt))[0].token_ids == row["ids"]


def test_f16_weights_are_used_as_they_are(load: Load, folder: Path) -> None:
    """f16 in the file and the same values in f32 give the same answers."""
    write_checkpoint(folder / "f16", NAME)
    write_checkpoint(folder / "f16-widened", NAME)
    weights = Checkpoint.open(folder / NAME).tensors
    halves = {name: tensor.array().astype("float16") for name, tensor in weights.items()}
    write_safetensors(folder / "f16" / "model.safetensors", halves, "F16")
    write_safetensors(folder / "f16-widened" / "model.safetensors", halves, "F32")
    requests = [ask(prompt) for prompt, _ in greedy(NAME)[:6]]
    ids, widened = ([a.token_ids for a in run(load(name), *requests)] for name in ("f16", "f16-widened"))
    assert ids == widened


def test_int8_equals_exact_arithmetic_on_the_rounded_weights(load: Load, folder: Path) -> None:
    """The profile int8 changes the weights and nothing else: a checkpoint of its rounded weights answers the same."""
    name = "qwen3-tied-bf16"
    stored = Checkpoint.open(folder / name).tensors
    rounded = write_checkpoint(folder / "rounded", name, dtype="float32")
    arrays = {key: (t.array().astype("uint32") << 16).view("float32") for key, t in stored.items()}
    for key, array in arrays.items():
        if array.ndim == 2:
            rows, scales = quantise_rows(array)
            arrays[key] = rows * scales
    write_safetensors(rounded / "model.safetensors", arrays, "F32")
    requests = [ask(prompt) for prompt, _ in greedy(name)[:8]]
    int8 = [answer.token_ids for answer in run(load(name, profile="int8"), *requests)]
    assert int8 == [answer.token_ids for answer in run(load("rounded"), *requests)]
    assert int8 != [row["ids"] for _, row in greedy(name)[:8]], "rounding to 8 bits shows on these models"


def test_int8_fast_answers(load: Load) -> None:
    """Nothing is promised about its ids but that they are as many as asked for, and the same in the same batch."""
    engine = load(profile="int8-fast", prefix_caching=False)
    requests = [ask(prompt) for prompt, _ in greedy(NAME)[:4]]
    first, second = (([a.token_ids for a in run(engine, *requests)]) for _ in range(2))
    assert first == second
    assert [len(ids) for ids in first] == [48] * 4


def test_a_model_exported_elsewhere_is_loaded_as_it_is(load: Load, folder: Path) -> None:
    """A folder in OpenVINO's format needs no conversion; weights in it cannot be rounded any more."""
    convert(Checkpoint.open(folder / NAME), "stored", folder / "exported")
    prompt, row = greedy(NAME)[0]
    assert run(load("exported"), ask(prompt))[0].token_ids == row["ids"]
    with pytest.raises(ConfigurationError) as caught:
        load("exported", profile="int8")
    assert str(caught.value) == (
        f"engine.profile: int8 needs a checkpoint to convert, {folder}/exported is OpenVINO's format already; "
        "use the profile exact or bf16"
    )


def test_the_end_id_ends_the_answer_and_is_not_in_it(engine: OpenVinoEngine) -> None:
    """Of two end ids the first that comes ends the answer, with its own log prob left out."""
    prompt, row = greedy(NAME)[3]
    first, later = row["ids"][7], row["ids"][20]
    assert first not in row["ids"][:7]
    request = replace(ask(prompt, logprobs=0), end_ids=(later, first))
    answer = run(engine, request)[0]
    assert answer.token_ids == row["ids"][:7]
    assert len(answer.log_probs) == 7
    assert (answer.last.finish, answer.last.stop_token) == ("stop", first)


def test_stop_ids_work_without_end_ids(engine: OpenVinoEngine) -> None:
    """With the model's end ignored (no end ids) the caller's two stop ids still stop."""
    prompt, row = greedy(NAME)[3]
    request = replace(ask(prompt), stop_token_ids=(row["ids"][7], 0))
    answer = run(engine, request)[0]
    assert (answer.token_ids, answer.last.stop_token) == (row["ids"][:7], row["ids"][7])


def test_without_end_ids_nothing_ends_the_answer(engine: OpenVinoEngine) -> None:
    """No id is special then, id 0 neither, not even while min_tokens forbids ends."""
    prompt = PROMPTS[4]
    start = run(engine, ask(prompt, 1))[0].token_ids[0]
    zero = [0] * 8
    answers = run(engine, ask(zero), ask(zero, min_tokens=48), ask(prompt, min_tokens=10))
    assert [len(answer.token_ids) for answer in answers] == [48, 48, 48]
    assert answers[0].token_ids == answers[1].token_ids
    assert answers[2].token_ids[0] == start
    assert [answer.last.finish for answer in answers] == ["length"] * 3


def test_length_wins_over_nothing_and_stop_over_length(engine: OpenVinoEngine) -> None:
    """A stop id as the last allowed token is a stop; one token more allowed changes nothing."""
    prompt, row = greedy(NAME)[3]
    at_limit, beyond = (replace(ask(prompt, limit), end_ids=(row["ids"][7],)) for limit in (8, 9))
    for answer in run(engine, at_limit, beyond):
        assert (answer.token_ids, answer.last.finish) == (row["ids"][:7], "stop")
    short = run(engine, replace(ask(prompt, 7), end_ids=(row["ids"][7],)))[0]
    assert (short.token_ids, short.last.finish, short.last.stop_token) == (row["ids"][:7], "length", None)


def test_min_tokens_holds_every_end_back(engine: OpenVinoEngine) -> None:
    """Neither end nor stop ids come before min_tokens; afterwards they may."""
    prompt, row = greedy(NAME)[3]
    request = replace(ask(prompt, min_tokens=12), end_ids=(row["ids"][7],), stop_token_ids=(row["ids"][2],))
    ends = {row["ids"][7], row["ids"][2]}
    answer = run(engine, request)[0]
    assert len(answer.token_ids) >= 12
    assert not ends & set(answer.token_ids)


def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(engine: OpenVinoEngine) -> None:
    """Sampling depends on the seed and on nothing else; other seeds give other answers."""
    prompt = PROMPTS[7]
    requests = [ask(prompt, temperature=1.5, top_p=0.95, top_k=50, min_p=0.01, seed=seed) for seed in range(12)]
    batch = [answer.token_ids for answer in run(engine, *requests)]
    alone = [run(engine, request)[0].token_ids for request in requests]
    assert batch == alone
    assert len({tuple(ids) for ids in batch}) == 12
    assert run(engine, ask(prompt, temperature=1.0, seed=2**64 - 1))[0].last.finish == "length"


def test_no_seed_means_another_answer_each_time(engine: OpenVinoEngine) -> None:
    """The library's own default would be one fixed seed."""
    answers = run(engine, *[ask(PROMPTS[7], temperature=1.5) for _ in range(6)])
    assert len({tuple(answer.token_ids) for answer in answers}) == 6


def test_sampling_narrowed_to_one_token_is_greedy(engine: OpenVinoEngine) -> None:
    """Temperature 0, top_k 1, top_p 0 or close to 0, min_p 1: each leaves the most likely token only."""
    prompt, row = greedy(NAME)[1]
    narrow: list[dict[str, Any]] = [
        {"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4},
    ]  # fmt: skip
    for answer in run(engine, *[ask(prompt, seed=3, **parameters) for parameters in narrow]):
        assert answer.token_ids == row["ids"]


def test_each_sampling_parameter_changes_the_answer(engine: OpenVinoEngine) -> None:
    """None is dropped on the way: with the same seed, each of them alone gives another answer."""
    prompt = PROMPTS[7]
    base: dict[str, Any] = {"temperature": 2.0, "seed": 5}
    changes: list[dict[str, Any]] = [
        {}, {"temperature": 1.0}, {"top_k": 5}, {"top_p": 0.5}, {"min_p": 0.2}, {"repetition_penalty": 1.5},
        {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}, {"seed": 6},
    ]  # fmt: skip
    answers = run(engine, *[ask(prompt, **(base | change)) for change in changes])
    assert len({tuple(answer.token_ids) for answer in answers}) == len(changes)


@pytest.mark.parametrize("name", CONFIGS)
def test_repetition_penalty_equals_transformers(name: str, load: Load) -> None:
    """Greedy with a penalty of 1.3 gives transformers' ids."""
    answer = run(load(name), ask(greedy(name)[1][0], repetition_penalty=1.3))[0]
    assert answer.token_ids == TABLE[name]["repetition_penalty_1.3"]


def test_log_probs_are_of_the_model_not_of_the_sampling(engine: OpenVinoEngine) -> None:
    """At any temperature the chosen token's log prob is the model's own; without `logprobs` there are none."""
    prompt, row = greedy(NAME)[1]
    hot, plain = run(engine, ask(prompt, 1, temperature=5.0, top_k=2, seed=1, logprobs=0), ask(prompt, 4))
    best = row["log_probs"][0]
    assert hot.log_probs[0] <= best + 1e-3
    assert not math.isclose(hot.log_probs[0], math.log(0.5), abs_tol=0.05)
    assert plain.log_probs == []
    assert plain.last.cum_log_prob is None


@pytest.mark.parametrize("name", CONFIGS)
def test_beams_equal_transformers(name: str, load: Load) -> None:
    """The best `n` beams come together at the end, best first, with their summed log probs."""
    engine, expected = load(name), TABLE[name]["beams"]
    prompt = greedy(name)[1][0]
    chunks = run(engine, ask(prompt, 10, beam_width=4, n=3, logprobs=0))[0].chunks
    assert [chunk.token_ids for chunk in chunks] == [beam["ids"] for beam in expected[:3]]
    assert [chunk.cum_log_prob for chunk in chunks] == pytest.approx([b["score"] * 10 for b in expected[:3]], abs=1e-2)
    assert [(c.sequence, c.finish, c.last) for c in chunks] == [
        (0, "length", False),
        (1, "length", False),
        (2, "length", True),
    ]
    assert [sum(chunk.log_probs) for chunk in chunks] == pytest.approx([c.cum_log_prob for c in chunks])


def test_a_beam_that_meets_an_end_stops_there(engine: OpenVinoEngine) -> None:
    """Its end id is in `stop_token`, not in its tokens. The length penalty decides whether so short a beam is best."""
    prompt, row = greedy(NAME)[1]
    short, mean = (
        replace(ask(prompt, 10, beam_width=4, length_penalty=penalty), end_ids=(row["ids"][1],))
        for penalty in (0.0, 1.0)
    )
    (first,), (other,) = (answer.chunks for answer in run(engine, short, mean))
    assert (first.token_ids, first.stop_token, first.finish) == (row["ids"][:1], row["ids"][1], "stop")
    assert (len(other.token_ids), other.stop_token, other.finish) == (10, None, "length")


def test_cancel_frees_what_was_held(load: Load) -> None:
    """A cancelled sequence gives no further chunk, and its cache blocks go to whoever comes next."""
    engine = load(cache_gib=blocks(10), prefix_caching=False)
    key, other = next(KEYS), next(KEYS)
    engine.add(key, ask(PROMPTS[1] * 4, 150))
    for _ in range(3):
        assert [k for k, _ in engine.step()] == [key]
    usage = engine.counters.extra["kv_cache_usage"]
    assert usage > 0.4
    engine.cancel(key)
    engine.cancel(key)
    engine.cancel(12345)
    assert (engine.counters.running, engine.counters.cancelled) == (0, 1)
    answers = {other: Answer()}
    engine.add(other, ask(PROMPTS[1] * 4, 150))
    drain(engine, answers)
    assert len(answers[other].token_ids) == 150
    assert engine.wait_s() is None


def test_a_cancelled_sequence_alone_leaves_an_idle_engine(engine: OpenVinoEngine) -> None:
    """The engine asks for the step that frees it and then rests."""
    key = next(KEYS)
    engine.add(key, ask(PROMPTS[3], 40))
    engine.step()
    engine.cancel(key)
    drain(engine, {})
    assert engine.counters.extra["kv_cache_usage"] == 0


def blocks(count: int) -> float:
    """GiB for that many blocks of the cache of the small models with 16 numbers a head."""
    per_block = 32 * 2 * 3 * 2 * 16 * 4
    return (count + 0.5) * per_block / 2**30


def test_too_many_for_the_cache_wait_and_all_are_right(load: Load) -> None:
    """With room for a part of twelve sequences they take turns; every answer is still transformers'."""
    engine, table = load(cache_gib=blocks(16)), greedy(NAME)[:12]
    answers = run(engine, *[ask(prompt) for prompt, _ in table])
    assert [answer.token_ids for answer in answers] == [row["ids"] for _, row in table]


def test_the_batch_is_bounded(load: Load) -> None:
    """With max_num_seqs 2 of five requests two run and three wait; the counters say so."""
    engine = load(max_num_seqs=2)
    answers = {next(KEYS): Answer() for _ in range(5)}
    for key in answers:
        engine.add(key, ask(PROMPTS[2], 8))
    assert (engine.counters.running, engine.counters.waiting) == (0, 5)
    for _ in range(2):
        for key, chunk in engine.step():
            answers[key].token_ids += chunk.token_ids
    assert (engine.counters.running, engine.counters.waiting) == (2, 3)
    assert [engine.waits(key) for key in answers] == [False, False, True, True, True]
    drain(engine, answers)
    assert [len(answer.token_ids) for answer in answers.values()] == [8] * 5
    counters = engine.counters
    assert (counters.requests, counters.finished, counters.tokens) == (5, 5, 40)
    assert (counters.running, counters.waiting) == (0, 0)


def test_a_shared_prefix_is_read_once_and_changes_no_answer(load: Load) -> None:
    """Of two prompts that begin alike the second skips what the first has left in the cache; ids stay the same."""
    common = long_prompt(1)[:320]
    requests = [ask(common + PROMPTS[n][:5], 8) for n in (1, 2)]
    cached, fresh = (load(max_num_batched_tokens=64, prefix_caching=on) for on in (True, False))
    answers, steps = [], []
    for engine in (cached, fresh):
        answers.append([run(engine, request)[0].token_ids for request in requests])
        steps.append(engine.counters.steps)
    assert answers[0] == answers[1]
    assert steps == [6 + 7 + 1 + 7, 6 + 7 + 6 + 7]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask([]), "input_ids: the prompt is empty; give at least one token"),
        (ask([5, 512]), "input_ids: 512 is outside the vocabulary (0 to 511)"),
        (ask([-1]), "input_ids: -1 is outside the vocabulary (0 to 511)"),
        (replace(ask([5]), end_ids=(600,)), "end_id: 600 is outside the vocabulary (0 to 511)"),
        (replace(ask([5]), stop_token_ids=(1, -3)), "stop_token_ids: -3 is outside the vocabulary (0 to 511)"),
        (
            ask([5] * 2000, 49),
            "max_tokens: 2000 prompt tokens and 49 to generate exceed the context of 2048; "
            "shorten the prompt or lower max_tokens",
        ),
        (ask([5], beam_width=65), "beam_width: must not be larger than the engine's batch (64)"),
        (ask([5], beam_width=4, n=5), "n: must not be larger than beam_width (4)"),
        (
            ask([5], beam_width=4, temperature=0.7),
            "temperature: beam search takes no notice of it; leave it out, or beam_width",
        ),
        (
            ask([5], beam_width=4, min_tokens=2),
            "min_tokens: beam search takes no notice of it; leave it out, or beam_width",
        ),
        *(
            (
                ask([5], **sampling),
                "top_logprobs: this engine knows the likeliest token only, and that with temperature = 0 and no penalties",
            )
            for sampling in (
                {"logprobs": 2},
                {"logprobs": 1, "temperature": 0.5},
                {"logprobs": 1, "repetition_penalty": 1.3},
                {"logprobs": 1, "beam_width": 2},
            )
        ),
        (
            replace(ask([5]), bad_words=((1,),)),
            "bad_words: the openvino engine does not support it; leave it out",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(engine: OpenVinoEngine, request_: EngineRequest, message: str) -> None:
    """Named field, reason, remedy; nothing stays behind and the engine goes on."""
    before = engine.counters.requests
    with pytest.raises(InvalidRequest) as caught:
        engine.add(next(KEYS), request_)
    assert str(caught.value) == message
    assert (engine.wait_s(), engine.counters.requests) == (None, before)


def test_a_search_that_would_outgrow_the_cache_is_refused(load: Load) -> None:
    """Beams multiply what a request needs, so the cache is asked before."""
    with pytest.raises(InvalidRequest) as caught:
        load(cache_gib=blocks(10)).add(1, ask(PROMPTS[1], 100, beam_width=4))
    assert str(caught.value) == (
        "beam_width: 4 beams of 100 tokens need a cache for 566 tokens, there is one for 320; lower it or max_tokens"
    )


def test_a_small_cache_bounds_the_context(load: Load) -> None:
    """A prompt that the cache cannot hold would be dropped; the context that is announced prevents it."""
    assert load(cache_gib=blocks(10)).info.max_context == 320
    assert load().info == replace(load().info, name="openvino", max_context=2048, vocab_size=512)


def test_what_outgrows_the_cache_is_told(load: Load) -> None:
    """Should the pipeline have less room than announced: no token is an error, some are a cut answer, beams an error."""

    def build(folder: Path, scheduler: genai.SchedulerConfig, *rest: Any) -> genai.ContinuousBatchingPipeline:
        scheduler.num_kv_blocks = 4
        return genai.ContinuousBatchingPipeline(folder, scheduler, *rest)

    engine = load(build=build)
    too_long, cut, beams = (
        run(engine, ask(PROMPTS[3] * 2))[0],
        run(engine, ask(PROMPTS[1], 400))[0],
        run(engine, ask(PROMPTS[1], 400, beam_width=4))[0],
    )
    error = TokenChunk(finish="error", error="the request does not fit into the key/value cache; raise cache_gib")
    assert too_long.chunks == [error]
    assert cut.last == TokenChunk(finish="length")
    assert 80 < len(cut.token_ids) < 100
    assert beams.chunks == [error]
    assert len(run(engine, ask(PROMPTS[1], 20))[0].token_ids) == 20


class Failing:
    """Builds real pipelines whose step fails when it is told to."""

    def __init__(self) -> None:
        self.built = 0
        self.fail_step = self.fail_add = self.fail_build = False

    def __call__(self, *arguments: Any) -> Any:
        if self.fail_build:
            raise RuntimeError("no memory for a pipeline")
        self.built += 1
        return _FailingPipeline(self, genai.ContinuousBatchingPipeline(*arguments))


class _FailingPipeline:
    def __init__(self, owner: Failing, pipeline: genai.ContinuousBatchingPipeline) -> None:
        self._owner, self._pipeline = owner, pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def step(self) -> None:
        if self._owner.fail_step:
            self._owner.fail_step = False
            raise RuntimeError("Check 'block' failed")
        self._pipeline.step()

    def add_request(self, *arguments: Any) -> Any:
        if self._owner.fail_add:
            raise RuntimeError("no room for a request")
        return self._pipeline.add_request(*arguments)


def test_a_failed_step_fails_its_requests_and_nothing_after(load: Load) -> None:
    """Everything in flight ends with an error, a new pipeline is built, and the next request is right."""
    build = Failing()
    engine = load(build=build)
    prompt, row = greedy(NAME)[0]
    answers = {next(KEYS): Answer() for _ in range(3)}
    for key in answers:
        engine.add(key, ask(prompt))
    engine.step()
    build.fail_step = True
    drain(engine, answers)
    for answer in answers.values():
        assert (answer.last.finish, answer.last.error) == ("error", "Check 'block' failed")
    assert (build.built, engine.counters.extra["pipeline_failures"], engine.counters.running) == (2, 1, 0)
    assert run(engine, ask(prompt))[0].token_ids == row["ids"]


def test_a_pipeline_that_cannot_be_built_is_tried_again(load: Load) -> None:
    """Without memory for a new pipeline each request ends with that reason, until there is some again."""
    build = Failing()
    engine = load(build=build)
    prompt, row = greedy(NAME)[0]
    build.fail_step = build.fail_build = True
    failed = [run(engine, ask(prompt))[0].last for _ in range(2)]
    assert [chunk.error for chunk in failed] == ["Check 'block' failed", "no memory for a pipeline"]
    build.fail_build = False
    assert run(engine, ask(prompt))[0].token_ids == row["ids"]


def test_a_request_that_the_pipeline_rejects_ends_with_its_reason(load: Load) -> None:
    """A fault that no check foresaw comes as this request's error; a cancelled one says nothing."""
    build = Failing()
    engine = load(build=build)
    build.fail_add = True
    assert run(engine, ask(PROMPTS[0]))[0].chunks == [TokenChunk(finish="error", error="no room for a request")]
    key = next(KEYS)
    engine.add(key, ask(PROMPTS[0]))
    engine.cancel(key)
    assert engine.wait_s() is None


def test_nothing_is_sent_anywhere(folder: Path) -> None:
    """openvino brings a package that could send statistics: no socket, name look-up or child process while it runs."""
    code = f"""
import sys
watched = ("socket.", "urllib.", "http.", "subprocess.", "os.system", "os.posix_spawn", "os.exec")
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(watched) else None)
from qwen_triton.engines.openvino.engine import OpenVinoEngine
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.types import EngineRequest, SamplingParams
engine = OpenVinoEngine(OpenVinoOptions({str(folder / NAME)!r}, conversion_cache={str(folder / "telemetry")!r}))
engine.add(1, EngineRequest((1, 2, 3), SamplingParams(max_tokens=2)))
while engine.wait_s() is not None:
    engine.step()
print(engine.counters.tokens, sorted(set(seen)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "2 []\n", result.stderr
