"""From what a caller asks for to what an engine is asked for: seeds, lengths, end ids, words and biases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.engines.engine import EngineInfo
from qwen_triton.errors import InvalidRequest
from qwen_triton.preprocess import Preprocessor
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, GenerateRequest, SamplingParams, StopConditions, TokenBias, ToolChoice

ENGINE = EngineInfo("tensorrtllm", 1000, 151_936)


@pytest.fixture(scope="module")
def preprocess(qwen25_folder: Path, qwen25: Tokenizer) -> Preprocessor:
    return Preprocessor(qwen25, ChatTemplate.from_folder(qwen25_folder, qwen25))


def sampled(preprocess: Preprocessor, **sampling: int) -> tuple[EngineRequest, ...]:
    return preprocess.engine_requests(GenerateRequest(prompt="hello", sampling=SamplingParams(**sampling)), ENGINE)


def test_a_seed_is_fresh_unless_it_is_given(preprocess: Preprocessor) -> None:
    """A hundred requests without one have a hundred seeds; sequences of one request have seeds that follow."""
    assert len({sampled(preprocess)[0].sampling.seed for _ in range(100)}) == 100
    assert [r.sampling.seed for r in sampled(preprocess, seed=7, n=3)] == [7, 8, 9]


def test_a_forced_call_needs_a_chat(preprocess: Preprocessor) -> None:
    """A prompt that stands as it is has no template to begin one."""
    tools = ({"name": "f"},)
    for prompt in ({"prompt": "hi"}, {"token_ids": (1, 2)}):
        request = GenerateRequest(**prompt, tools=tools, tool_choice=ToolChoice("required"))  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match="tool_choice: only with messages, or a prompt in the format chat"):
            preprocess.engine_requests(request, ENGINE)
    for chat in (
        GenerateRequest(prompt="hi", prompt_format="chat"),
        GenerateRequest(messages=({"role": "user", "content": "hi"},)),
    ):
        asked = replace(chat, tools=tools, tool_choice=ToolChoice("required"))
        text = preprocess.tokenizer.decode(preprocess.engine_requests(asked, ENGINE)[0].token_ids, False)
        assert text.endswith('<tool_call>\n{"name": "f", "arguments":')


def test_the_length_is_what_is_asked_or_what_the_context_leaves(preprocess: Preprocessor) -> None:
    assert sampled(preprocess, max_tokens=5)[0].sampling.max_tokens == 5
    assert sampled(preprocess)[0].sampling.max_tokens == 999
    with pytest.raises(InvalidRequest, match="max_tokens: 1000 is too large: the prompt has 1 tokens"):
        sampled(preprocess, max_tokens=1000)


def test_a_clamped_length_is_at_most_what_the_context_leaves(preprocess: Preprocessor) -> None:
    """max_tokens as an upper bound, the context as another one."""
    for sent, got in ((5, 5), (999, 999), (1000, 999), (2**31 - 1, 999), (None, 999)):
        request = GenerateRequest(prompt="hello", sampling=SamplingParams(max_tokens=sent), clamp_max_tokens=True)
        assert preprocess.engine_requests(request, ENGINE)[0].sampling.max_tokens == got


@pytest.mark.parametrize("clamp", [False, True])
def test_a_prompt_that_does_not_fit_is_refused_in_openai_s_words(preprocess: Preprocessor, clamp: bool) -> None:
    """Clients that shorten a conversation look for them."""
    request = GenerateRequest(token_ids=(1,) * 1000, clamp_max_tokens=clamp)
    with pytest.raises(InvalidRequest) as refused:
        preprocess.engine_requests(request, ENGINE)
    assert str(refused.value) == (
        "text_input: This model's maximum context length is 1000 tokens. However, the prompt resulted in 1000 tokens, "
        "which leaves none for an answer; shorten it"
    )


def test_a_context_beyond_the_checkpoint_s_is_named(preprocess: Preprocessor) -> None:
    """It cannot be honoured; the model says so when it starts."""
    most = preprocess.tokenizer.context_length
    assert most is not None
    assert replace(preprocess, max_context=most).context_fault == ""
    fault = f"{most + 1} is more than the checkpoint's {most} tokens, which hold"
    assert replace(preprocess, max_context=most + 1).context_fault == fault


def test_end_ids_are_the_checkpoints_the_callers_or_none(preprocess: Preprocessor) -> None:
    ends = {
        name: preprocess.engine_requests(GenerateRequest(prompt="x", **more), ENGINE)[0].end_ids
        for name, more in {
            "both": {},
            "own": {"end_id": 42},
            "none": {"stop": StopConditions(ignore_eos=True)},
            "minus": {"end_id": -1},
        }.items()
    }
    assert ends == {"both": (151645, 151643), "own": (42,), "none": (), "minus": ()}


def test_words_become_token_ids(preprocess: Preprocessor, qwen25: Tokenizer) -> None:
    """A bias word's weight is on each of its tokens, added to what the id has already."""
    (two,), yes = qwen25.encode(" two"), qwen25.encode(" zebra crossing")
    bias = TokenBias((" two", " zebra crossing"), ((" zebra crossing", 2.0),), {yes[0]: 0.5, two: -1.0})
    request = preprocess.engine_requests(GenerateRequest(prompt="x", bias=bias), ENGINE)[0]
    assert request.bad_words == ((two,), tuple(yes))
    assert request.bias == {yes[0]: 2.5, two: -1.0} | dict.fromkeys(yes[1:], 2.0)


def test_an_engine_gets_stop_words_only_where_it_may_cut_there(preprocess: Preprocessor, qwen25: Tokenizer) -> None:
    stop = StopConditions((" two",))
    sent = GenerateRequest(prompt="x", stop=stop)
    assert preprocess.engine_requests(sent, ENGINE)[0].stop_sequences == (tuple(qwen25.encode(" two")),)
    kept = GenerateRequest(prompt="x", stop=StopConditions((" two",), include_in_output=True))
    assert preprocess.engine_requests(kept, ENGINE)[0].stop_sequences == ()


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"stream": True}, 1),
        ({"stream": True, "stop": StopConditions(("x",))}, 1),
        ({}, 0),
        ({"stop": StopConditions(token_ids=(5,))}, 0),
        ({"stop": StopConditions(("x",))}, 16),
    ],
)
def test_chunks_of_a_whole_answer_wait_in_the_engine_s_process(
    preprocess: Preprocessor, options: dict[str, Any], tokens: int
) -> None:
    """To the end, or as long as a stop string can wait to be looked for."""
    (request,) = preprocess.engine_requests(GenerateRequest(prompt="hello", **options))
    assert request.chunk_tokens == tokens


def test_a_seed_that_an_engine_does_not_honour_is_refused(preprocess: Preprocessor) -> None:
    """One that is drawn for a request without is not, nor one that changes nothing because the likeliest token is taken."""
    unseeded = EngineInfo("llmapi", 1000, 151_936, seeds=False)

    def asked(**sampling: Any) -> GenerateRequest:
        return GenerateRequest(prompt="hello", sampling=SamplingParams(**sampling))

    with pytest.raises(InvalidRequest, match=r"^seed: this sampler has one seed for all requests; it needs engine"):
        preprocess.engine_requests(asked(seed=7, temperature=0.5), unseeded)
    for request in (asked(temperature=0.5), asked(seed=7), asked(seed=7, temperature=0.0)):
        assert len(preprocess.engine_requests(request, unseeded)) == 1
    assert len(preprocess.engine_requests(asked(seed=7, temperature=0.5), replace(unseeded, seeds=True))) == 1


def test_the_first_sequence_alone_has_the_log_probs_of_the_prompt(preprocess: Preprocessor) -> None:
    request = GenerateRequest(prompt="hello", sampling=SamplingParams(prompt_logprobs=1, n=3))
    found = preprocess.engine_requests(request, EngineInfo("vllm", 1000, 151_936))
    assert [one.sampling.prompt_logprobs for one in found] == [1, None, None]


@pytest.mark.parametrize(
    ("engine", "more", "message"),
    [
        (ENGINE, {"lora_name": "a"}, "lora_name: the tensorrtllm engine does not support it; leave it out"),
        (
            ENGINE,
            {"sampling": SamplingParams(priority=1)},
            "priority: the tensorrtllm engine does not support it; leave it out",
        ),
        (
            EngineInfo("vllm", 1000, 151_936),
            {"lora_name": "a"},
            "lora_name: this server has no adapters (engine.lora in the deployment); leave it out",
        ),
        (
            EngineInfo("vllm", 1000, 151_936),
            {"sampling": SamplingParams(priority=1)},
            "priority: needs engine.scheduling_policy: priority in the deployment; leave it out",
        ),
        (
            EngineInfo("vllm", 1000, 151_936, adapters=["pirate", "poet"]),
            {"lora_name": "a"},
            "lora_name: no adapter has this name; there are pirate, poet",
        ),
    ],
)
def test_what_depends_on_how_the_engine_is_loaded(
    preprocess: Preprocessor, engine: EngineInfo, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        preprocess.engine_requests(GenerateRequest(prompt="hello", **more), engine)
    assert str(refused.value) == message
    able = replace(engine, name="vllm", honours=("priority",), adapters=("a",))
    (found,) = preprocess.engine_requests(GenerateRequest(prompt="hello", **more), able)
    assert (found.lora_name, found.sampling.priority) == (more.get("lora_name"), 1 if "sampling" in more else None)
