"""The table of limits: sizes of arrays and of requests, each refused with its field, the limit and the key that sets it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import ConfigurationError, InvalidRequest
from qwen_triton.tensors.limits import (
    LIMITS,
    Limits,
    check_prompt_log_probs,
    check_requests,
    check_sizes,
    utf8_bytes,
)
from qwen_triton.types import EngineRequest, GenerateRequest, LoraTask, SamplingParams, StopConditions, TokenBias

SMALL = Limits(
    **dict.fromkeys(LIMITS, 4) | {"sequences": 3, "stop_bytes": 6, "stop_ids": 5, "words_bytes": 7, "tensor_values": 9}
)


def texts(*values: str) -> Any:
    return np.array([[value.encode() for value in values]], dtype=object)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"text_input": texts("12345")},
            "text_input: 5 bytes are more than the 4 that are taken here (limits.prompt_bytes)",
        ),
        ({"QUERY": texts("12345")}, "text_input: 5 bytes are more than the 4"),
        (
            {"messages": texts("[    ]")},
            "messages: 6 bytes are more than the 4 that are taken here (limits.messages_bytes)",
        ),
        (
            {"stop_words": texts(*"abcde")},
            "stop_words: 5 strings are more than the 4 that are taken here (limits.stop_strings)",
        ),
        ({"STOP_WORDS_DICT": texts("1234567")}, "stop_words: 7 bytes are more than the 6"),
        ({"stop_token_ids": np.zeros((1, 6), np.int32)}, "stop_token_ids: 6 token ids are more than the 5"),
        ({"input_ids": np.zeros((1, 5), np.int32)}, "input_ids: 5 token ids are more than the 4"),
        ({"stop_words_list": np.zeros((1, 2, 28), np.int32)}, "stop_words_list: 28 token ids are more than the 27"),
        ({"bad_words_list": np.zeros((1, 2, 8), np.int32)}, "bad_words_list: 8 token ids are more than the 7"),
        (
            {"lora_weights": np.zeros((3, 1, 2), np.float16)},
            "lora_weights: 6 values are more than the 4 that are taken here (limits.lora_values)",
        ),
        ({"image_input": np.zeros((1, 3, 2, 2), np.float16)}, "image_input: 12 values are more than the 9"),
        ({"prompt_format": texts("x" * 10)}, "prompt_format: 10 values are more than the 9"),
        ({"logit_bias": texts("{" + " " * 300 + "}")}, "logit_bias: 302 bytes are more than the 256"),
        ({"top_k": np.zeros((4, 1), np.int32)}, "top_k: 4 sequences are more than the 3"),
    ],
)
def test_arrays_above_a_limit_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_sizes(arrays, SMALL)
    assert message in str(caught.value)


def test_arrays_at_their_limit_pass() -> None:
    """The limit counts for each row; an empty array has nothing to count."""
    check_sizes(
        {
            "text_input": np.array([[b"1234"]] * 3, dtype=object),
            "stop_words": np.array([[b"123", b"456"]] * 3, dtype=object),
            "bad_words": np.zeros((3, 0), dtype=object),
            "stop_words_list": np.zeros((3, 2, 27), np.int32),
            "return_log_probs": np.zeros((3,), np.bool_),
        },
        SMALL,
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GenerateRequest(prompt="漢字"), "text_input: 6 bytes are more than the 4"),
        (GenerateRequest(token_ids=(1,) * 5), "input_ids: 5 token ids"),
        (
            GenerateRequest(messages=({},) * 5),
            "messages: 5 messages are more than the 4 that are taken here (limits.messages)",
        ),
        (GenerateRequest(prompt="x", tools=({},) * 5), "tools: 5 tools"),
        (GenerateRequest(prompt="x", stop=StopConditions(("a",) * 5)), "stop_words: 5 strings"),
        (GenerateRequest(prompt="x", stop=StopConditions(("漢字漢",))), "stop_words: 9 bytes"),
        (GenerateRequest(prompt="x", stop=StopConditions(token_ids=(1,) * 6)), "stop_token_ids: 6"),
        (GenerateRequest(prompt="x", bias=TokenBias(bad_words=("a",) * 5)), "bad_words: 5 words"),
        (GenerateRequest(prompt="x", bias=TokenBias(bad_words=("a" * 8,))), "bad_words: 8 bytes"),
        (GenerateRequest(prompt="x", bias=TokenBias(words=(("a", 1.0),) * 5)), "embedding_bias_words: 5 biases"),
        (GenerateRequest(prompt="x", bias=TokenBias(token_ids=dict.fromkeys(range(5), 1.0))), "logit_bias: 5 biases"),
        (
            GenerateRequest(prompt="x", sampling=SamplingParams(n=4)),
            "num_return_sequences: 4 sequences are more than the 3",
        ),
        (
            GenerateRequest(prompt="x", sampling=SamplingParams(n=3), lora_task=LoraTask(7, 1, bytes(4), bytes(12))),
            "lora_weights: 6 values are more than the 4",
        ),
        (GenerateRequest(prompt="x", sampling=SamplingParams(n=1, best_of=4)), "num_return_sequences: 4"),
        (GenerateRequest(prompt="x", sampling=SamplingParams(beam_width=4)), "num_return_sequences: 4"),
    ],
)
def test_requests_above_a_limit_are_refused(request_: GenerateRequest, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_requests([request_], SMALL)
    assert message in str(caught.value)


def test_sequences_of_all_prompts_count_together() -> None:
    two = GenerateRequest(prompt="x", sampling=SamplingParams(n=2))
    check_requests([two], SMALL)
    with pytest.raises(InvalidRequest, match="4 sequences are more than the 3"):
        check_requests([two, two], SMALL)


def test_an_honest_request_is_far_below_the_defaults() -> None:
    """128,000 tokens of text, 300 tools, sixteen long stop strings, 128 prompts of eight answers."""
    limits = Limits()
    assert limits.prompt_bytes >= 4 * 1_000_000
    request = GenerateRequest(
        messages=({"role": "user", "content": "x" * 1_000_000},) * 400,
        tools=({},) * 300,
        stop=StopConditions(("\n" + "x" * 300,) * 16),
        sampling=SamplingParams(n=8),
    )
    check_requests([request] * 128, limits)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop_byte": 1}, "limits.stop_byte: there is no such limit"),
        ({"stop_bytes": 0}, "limits.stop_bytes: expected a whole number from 1, got 0"),
        ({"stop_bytes": "8"}, "limits.stop_bytes: expected a whole number from 1, got '8'"),
        ({"stop_bytes": True}, "limits.stop_bytes: expected a whole number from 1, got True"),
    ],
)
def test_a_wrong_limit_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Limits.read(given)


def test_what_is_not_set_has_its_default() -> None:
    assert Limits.read(None) == Limits()
    assert Limits.read({"stop_bytes": 5}) == Limits(stop_bytes=5)


def test_bytes_are_those_of_utf_8() -> None:
    assert utf8_bytes(("a", "é", "漢", "\ud800", "")) == 1 + 2 + 3 + 3


def test_log_probs_of_prompts_are_counted_together() -> None:
    """Two of two tokens: four values, with the likeliest ones twice as many."""
    plain, tops = (EngineRequest((1, 2), SamplingParams(prompt_logprobs=count)) for count in (0, 1))
    check_prompt_log_probs([plain, plain, EngineRequest((1,) * 9, SamplingParams())], SMALL)
    with pytest.raises(InvalidRequest, match=r"^prompt_logprobs: 6 values are more than the 4 .*limits.log_probs_of"):
        check_prompt_log_probs([plain, tops], SMALL)
