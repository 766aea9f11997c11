"""Rows that differ: each row of a batch is answered as it is answered alone, or refused as it is refused alone.

Walks every input of the three models with two rows that differ in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from qwen_triton.tensors.arrays import NUMPY, encode_word_list
from qwen_triton.tensors.contract import (
    BLS,
    ENSEMBLE,
    INPUTS,
    REFUSED_ENGINE_INPUTS,
    REFUSED_TEXT_INPUTS,
    TENSORRT_LLM,
)
from qwen_triton.tensors.rows import ROW_RULES
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.servers import LiveServer
from tests.support.live.stock_programs import infer_texts, responses, stack

pytestmark = pytest.mark.live

TOKENS = 12
PROMPT = "Born in"
SEED = 3
VOCABULARY = 151_936


class Answer(NamedTuple):
    """What one row was told: by sequence its text or ids, its finish reason, and the outputs that came with it."""

    content: tuple[Any, ...]
    finish: tuple[str, ...]
    outputs: frozenset[str]


class Setting(NamedTuple):
    """Two values of an input, what both rows have beside them, and whether the two rows' answers differ then."""

    first: Any
    second: Any
    beside: dict[str, Any] = {}  # noqa: RUF012  never changed
    differs: bool = True


def text_settings(ids: list[int], tokenizer: Tokenizer) -> dict[str, Setting]:
    """For the text models; `ids` is the answer to the prompt where nothing else is said."""
    words = [tokenizer.decode([i]) for i in ids]
    chat = json.dumps([{"role": "user", "content": "hi"}])
    tool = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    no_text = {"text_input": "", "messages": chat}
    return {
        "text_input": Setting(PROMPT, "你好"),
        "messages": Setting("", chat),
        "tools": Setting("", tool, no_text),
        "tool_choice": Setting("", "required", {**no_text, "tools": tool}),
        "chat_template_kwargs": Setting('{"a": 1}', '{"b": 2}', no_text, differs=False),
        "clamp_max_tokens": Setting(True, False, differs=False),
        "parallel_tool_calls": Setting(True, False, {**no_text, "tools": tool}, differs=False),
        "prompt_format": Setting("raw", "chat"),
        "input_ids": Setting([5, 6], [7, 8]),
        "max_tokens": Setting(5, 9),
        "num_return_sequences": Setting(1, 2),
        "best_of": Setting(1, 3, differs=False),
        "end_id": Setting(ids[4], ids[7]),
        "pad_id": Setting(0, 5, differs=False),
        "stop_token_ids": Setting([ids[4]], [ids[7]]),
        "ignore_eos": Setting(False, True, {"end_id": ids[4]}),
        "stop_words": Setting([words[4]], [words[7]]),
        "include_stop_str_in_output": Setting(False, True, {"stop_words": [words[4]]}),
        "bad_words": Setting([words[4]], [words[7]]),
        "embedding_bias_words": Setting([words[4]], [words[7]], {"embedding_bias_weights": [-20.0]}),
        "embedding_bias_weights": Setting([1.0], [-20.0], {"embedding_bias_words": [words[4]]}),
        "logit_bias": Setting("{}", json.dumps({ids[4]: -20})),
        "random_seed": Setting(3, 4),
        "seed": Setting(3, 4),
        "min_length": Setting(1, 9, {"stop_token_ids": [ids[4]]}),
        "min_tokens": Setting(1, 9, {"stop_token_ids": [ids[4]]}),
        "return_log_probs": Setting(False, True),
        "top_logprobs": Setting(0, 2, {"return_log_probs": True}, differs=False),
        "prompt_logprobs": Setting(1, 2, differs=False),
        "priority": Setting(1, 2),
        "lora_name": Setting("a", "a"),
        "lora_task_id": Setting(7, 8),
        "lora_weights": Setting([[1.0]], [[2.0]]),
        "lora_config": Setting([[0, 1, 8]], [[0, 2, 8]]),
        "return_perf_metrics": Setting(True, True),
        "guided_decoding_guide_type": Setting(
            "regex", "ebnf_grammar", {"guided_decoding_guide": 'root ::= "a"'}, differs=False
        ),
        "guided_decoding_guide": Setting("a+", "b+", {"guided_decoding_guide_type": "regex"}, differs=False),
        "return_token_ids": Setting(True, False, differs=False),
        "stream": Setting(False, True, differs=False),
        "accumulate_tokens": Setting(False, True, {"stream": True}, differs=False),
        "exclude_input_in_output": Setting(True, False),
        "return_num_input_tokens": Setting(True, False, differs=False),
        "return_num_output_tokens": Setting(True, False, differs=False),
        "beam_width": Setting(1, 2),
        "repetition_penalty": Setting(1.0, 1.2),
        "presence_penalty": Setting(0.0, 0.5),
        "frequency_penalty": Setting(0.0, 0.5),
        **{name: Setting(1, 2, differs=False) for name in ("temperature", "top_k", "length_penalty")},
        **{name: Setting(0.5, 1.0, differs=False) for name in ("top_p", "min_p")},
    }


def engine_settings(ids: list[int], tokenizer: Tokenizer) -> dict[str, Setting]:
    """For the engine model, whose values are rows of arrays."""
    lists = {word: encode_word_list([[(ids[word],)]])[0] for word in (4, 7)}
    biases = []
    for word in (4, 7):
        bias = np.zeros(VOCABULARY, np.float32)
        bias[ids[word]] = -20.0
        biases.append(bias)
    same = text_settings(ids, tokenizer)
    renamed = {
        "runtime_top_k": "top_k",
        "runtime_top_p": "top_p",
        "len_penalty": "length_penalty",
        "streaming": "stream",
    }
    own = {
        "input_ids": Setting([5, 6], [7, 8]),
        "input_lengths": Setting(1, 2),
        "request_output_len": Setting(5, 9),
        "stop_words_list": Setting(lists[4], lists[7]),
        "bad_words_list": Setting(lists[4], lists[7]),
        "embedding_bias": Setting(*biases),
        "min_length": Setting(1, 9, {"end_id": ids[4]}),
        "min_tokens": Setting(1, 9, {"end_id": ids[4]}),
        "return_num_input_tokens": Setting(True, False),
        "return_num_output_tokens": Setting(True, False),
        **{engine: same[text] for engine, text in renamed.items()},
        **{
            name: same[name]._replace(beside={**same[name].beside, "end_id": ids[4]})
            for name in ("guided_decoding_guide_type", "guided_decoding_guide")
        },
    }
    return {**same, **own}


UNREAD = {"decoder_input_ids", "decoder_input_lengths", "stop"}
"""Inputs of the engine model without a row's own meaning: those of encoder-decoder models, and a stop, which is none."""


def names_of(model: str) -> list[str]:
    """The inputs of a model that say something of a row."""
    refused = REFUSED_ENGINE_INPUTS if model == TENSORRT_LLM else REFUSED_TEXT_INPUTS
    return [t.name for t in INPUTS[model] if t.name not in {*refused, *UNREAD}]


def row_of(model: str, name: str, value: Any, beside: dict[str, Any]) -> dict[str, Any]:
    """The arrays [1, …] of one row."""
    if model == TENSORRT_LLM:
        given: dict[str, Any] = {"input_ids": [5, 6], "input_lengths": 2, "request_output_len": TOKENS}
    else:
        given = {"text_input": PROMPT, "max_tokens": TOKENS}
    if name not in ("seed", "random_seed"):
        given["random_seed"] = SEED
    given |= {**beside, name: value}
    if name == "input_ids" and model == BLS:
        del given["text_input"]
    if name == "messages" and value:
        given["text_input"] = ""
    types = {tensor.name: NUMPY.get(tensor.dtype) for tensor in INPUTS[model]}
    return {n: np.array([v if isinstance(v, (list, np.ndarray)) else [v]], dtype=types[n]) for n, v in given.items()}


def answers(server: LiveServer, model: str, rows: list[dict[str, Any]]) -> list[Answer] | str:
    """One for each row, or the error without the row's number."""
    texts: dict[tuple[int, int], list[Any]] = {}
    finish: dict[tuple[int, int], str] = {}
    outputs: list[set[str]] = [set() for _ in rows]
    try:
        for response in responses(server, model, stack(rows)):
            place = tuple(int(response[n][0][0]) if n in response else 0 for n in ("batch_index", "sequence_index"))
            outputs[place[0]] |= {*response} - {"batch_index", "sequence_index"}
            told = texts.setdefault((place[0], place[1]), [])
            if model == TENSORRT_LLM:
                told += response["output_ids"][0][0][: response["sequence_length"][0][0]].tolist()
            else:
                told.append(response["text_output"][0].decode())
            if "finish_reason" in response:
                finish[place[0], place[1]] = response["finish_reason"][0][0].decode()
    except InferenceServerException as error:
        return str(error.message()).split(" (row")[0]
    return [
        Answer(
            tuple(_content(model, told) for (r, _), told in sorted(texts.items()) if r == row),
            tuple(reason for (r, _), reason in sorted(finish.items()) if r == row),
            frozenset(outputs[row]),
        )
        for row in range(len(rows))
    ]


def _content(model: str, told: list[Any]) -> Any:
    """Ids as they are; of texts the pieces joined, or the last where each holds those before it."""
    if model == TENSORRT_LLM:
        return tuple(told)
    accumulated = len(told) > 2 and all(later.startswith(former) for former, later in pairwise(told))
    return told[-1] if accumulated else "".join(told)


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model in (BLS, ENSEMBLE, TENSORRT_LLM) for name in names_of(model)]
)
def test_a_row_is_answered_as_it_is_alone(
    decoupled_server: LiveServer, qwen25: Tokenizer, expected_ids: Callable[..., list[int]], model: str, name: str
) -> None:
    """And not as its neighbour: the two rows' answers differ where the setting says something."""
    ids = expected_ids([5, 6] if model == TENSORRT_LLM else PROMPT, SEED, TOKENS)
    settings = (engine_settings if model == TENSORRT_LLM else text_settings)(ids, qwen25)
    setting = settings[name]
    rows = [row_of(model, name, value, setting.beside) for value in (setting.first, setting.second)]
    if name == "messages":
        rows[0]["messages"] = np.array([[""]], dtype=object)
    alone = [answers(decoupled_server, model, [row]) for row in rows]
    together = answers(decoupled_server, model, rows)
    refused = [answer for answer in alone if isinstance(answer, str)]
    if refused:
        assert together == refused[0]
        assert name in refused[0]
        return
    assert together == [answer[0] for answer in alone]
    if setting.differs:
        assert alone[0] != alone[1]


ALIKE: dict[str, tuple[Any, Any]] = {
    "num_return_sequences": (1, 2),
    "return_log_probs": (False, True),
    "return_num_input_tokens": (True, False),
    "return_num_output_tokens": (True, False),
}


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
@pytest.mark.parametrize("name", ALIKE)
def test_rows_that_one_response_cannot_hold_are_refused(whole_server: LiveServer, model: str, name: str) -> None:
    """Named, with the remedy; equal values pass."""
    rows = [row_of(model, name, value, {}) for value in ALIKE[name]]
    with pytest.raises(InferenceServerException, match=f"{name}: has rows that differ.*repository.decoupled: true"):
        infer_texts(whole_server, model, stack(rows), "grpc")
    assert len(infer_texts(whole_server, model, stack([rows[1], rows[1]]), "grpc")) >= 2


def test_the_rules_that_are_tried_are_all_there_are() -> None:
    """There are two others, and the replay engine has neither beams nor metrics."""
    others = {"beam_width", "return_perf_metrics"}
    assert {name for name, rule in ROW_RULES.items() if rule == "alike"} == {*ALIKE} | others
    assert {name for name, rule in ROW_RULES.items() if rule == "decoupled"} == {"stream", "streaming"}
