"""Rules of rows: every input has one, and one response refuses rows that it could not hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.contract import BLS_INPUTS, ENGINE_INPUTS, ENSEMBLE_INPUTS
from qwen_triton.tensors.rows import ROW_RULES, Row, check_one_response, decode_form, encode_form
from qwen_triton.tensors.text_inputs import decode_generate, encode_generate
from qwen_triton.types import Form, GenerateRequest, LoraTask, ToolChoice


def test_every_input_has_a_rule() -> None:
    """Most are a row's own."""
    assert {t.name for t in (*BLS_INPUTS, *ENSEMBLE_INPUTS, *ENGINE_INPUTS)} == set(ROW_RULES)
    assert {name for name, rule in ROW_RULES.items() if rule != "own"} == {
        *("num_return_sequences", "beam_width", "return_log_probs"),
        *("return_num_input_tokens", "return_num_output_tokens", "return_perf_metrics"),
        *("stream", "streaming", "stop"),
    }


@pytest.mark.parametrize("name", [name for name, rule in ROW_RULES.items() if rule == "alike"])
@pytest.mark.parametrize("rank", [1, 2], ids=["reshaped", "as sent"])
def test_rows_that_must_be_alike(name: str, rank: int) -> None:
    """The engine model gets values without their last dimension."""
    values: list[Any] = [True, False] if name.startswith("return") else [1, 2]
    arrays = {name: np.array(values).reshape(*(2, 1)[:rank])}
    with pytest.raises(InvalidRequest, match=rf"^{name}: has rows that differ, .*repository\.decoupled: true$"):
        check_one_response(arrays)
    check_one_response({name: arrays[name][:1].repeat(3, axis=0)})


@pytest.mark.parametrize("name", ["stream", "streaming"])
def test_a_stream_needs_several_responses(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^stream: this server answers whole"):
        check_one_response({name: np.array([[False], [True]])})
    check_one_response({name: np.array([[False], [False]])})


@pytest.mark.parametrize(
    "choice", [ToolChoice(), ToolChoice("none"), ToolChoice("required"), ToolChoice("named", '查询 "天气"')]
)
def test_a_choice_of_tools_goes_there_and_back(choice: ToolChoice) -> None:
    """As a word, or as OpenAI's object in JSON; auto is not sent."""
    arrays = encode_generate(GenerateRequest(prompt="x", tool_choice=choice))
    assert ("tool_choice" in arrays) is (choice != ToolChoice())
    assert decode_generate(arrays)[0].tool_choice == choice


@pytest.mark.parametrize("text", ["any", "{", "[]", '{"type": "function"}', "null"])
def test_a_choice_of_tools_that_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^tool_choice: "):
        decode_generate({"text_input": np.array([["x"]], object), "tool_choice": np.array([[text]], object)})


@pytest.mark.parametrize("task", [None, LoraTask(0), LoraTask(7, 2, bytes(range(12)), bytes(24))])
@pytest.mark.parametrize("perf_metrics", [False, True])
def test_what_is_passed_on_goes_there_and_back(task: LoraTask | None, perf_metrics: bool) -> None:
    request = GenerateRequest(prompt="x", lora_task=task, perf_metrics=perf_metrics)
    assert decode_generate(encode_generate(request)) == [request]


def test_other_settings_may_differ() -> None:
    check_one_response({"temperature": np.array([[0.5], [1.0]]), "text_input": np.array([[b"a"], [b"b"]], object)})


@pytest.mark.parametrize(
    ("kind", "guide", "form"),
    [
        ("json", None, Form("json_object")), ("json", "", Form("json_object")), ("json_object", None, Form("json_object")),
        ("json_schema", "{}", Form("json_schema", "{}")), ("regex", "a+", Form("regex", "a+")),
        ("choice", '["a"]', Form("choice", '["a"]')), ("ebnf_grammar", 'root ::= "a"', Form("grammar", 'root ::= "a"')),
        ("grammar", 'root ::= "a"', Form("grammar", 'root ::= "a"')), ("structural_tag", "{}", Form("structural_tag", "{}")),
        (None, None, None), ("", "", None),
    ],
)  # fmt: skip
def test_a_form_is_a_kind_and_a_text(kind: str | None, guide: str | None, form: Form | None) -> None:
    """Stock's names, and two of other servers."""
    given = {"guided_decoding_guide_type": kind, "guided_decoding_guide": guide}
    arrays = {name: np.array([[text.encode()]], object) for name, text in given.items() if text is not None}
    assert decode_form(Row(arrays, 0)) == form
    sent = {name: value for name, value in encode_form(form).items() if value is not None}
    assert decode_form(Row({name: np.array([[text.encode()]], object) for name, text in sent.items()}, 0)) == form


@pytest.mark.parametrize(
    ("kind", "guide", "message"),
    [
        (None, "{}", "guided_decoding_guide_type: is missing"),
        ("xml", "a", "guided_decoding_guide_type: expected one of json"),
        ("json", "{}", "guided_decoding_guide: json takes none"), ("regex", "", "guided_decoding_guide: is missing or empty"),
    ],
)  # fmt: skip
def test_half_a_form_is_refused(kind: str | None, guide: str, message: str) -> None:
    given = {"guided_decoding_guide_type": kind, "guided_decoding_guide": guide}
    arrays = {name: np.array([[text.encode()]], object) for name, text in given.items() if text is not None}
    with pytest.raises(InvalidRequest, match=message):
        decode_form(Row(arrays, 0))
