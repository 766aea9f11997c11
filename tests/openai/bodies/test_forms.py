"""The form that a body asks for, by OpenAI's, vLLM's and Anthropic's fields, and whose name an error of the model has."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.types import Form
from qwen_triton_openai.bodies.forms import answer_form, with_form_name
from qwen_triton_openai.errors import ApiError

SCHEMA = {"type": "object", "properties": {"名": {"type": "string"}}}
TEXT = '{"type": "object", "properties": {"名": {"type": "string"}}}'
TAG = {"type": "structural_tag", "format": {"type": "any_text"}}


def asked(**schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Form("json_object")),
        (asked(name="a", schema=SCHEMA, strict=True), Form("json_schema", TEXT)),
        (asked(name="a", schema=True, strict=None), Form("json_schema", "true")),
        (asked(type="json_schema", schema=SCHEMA), Form("json_schema", TEXT)),
        (asked(name="a"), Form("json_schema", "{}")),
        ({"response_format": TAG}, Form("structural_tag", '{"type": "structural_tag", "format": {"type": "any_text"}}')),
        ({"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}}, Form("json_schema", TEXT)),
        ({"structured_outputs": {"json": TEXT, "regex": None, "json_object": False}}, Form("json_schema", TEXT)),
        ({"structured_outputs": {"json_object": True}}, Form("json_object")),
        ({"structured_outputs": {"regex": "a+"}}, Form("regex", "a+")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, Form("choice", '["a", "b"]')),
        ({"structured_outputs": {"grammar": "root ::= [a]"}}, Form("grammar", "root ::= [a]")),
        ({"structured_outputs": {"structural_tag": "{}"}}, Form("structural_tag", "{}")),
        ({"guided_json": SCHEMA}, Form("json_schema", TEXT)),
        ({"guided_regex": "a"}, Form("regex", "a")),
        ({"guided_choice": ["a"]}, Form("choice", '["a"]')),
        ({"guided_grammar": "root ::= [a]", "response_format": {"type": "text"}}, Form("grammar", "root ::= [a]")),
    ],
)  # fmt: skip
def test_a_form_is_asked_for_in_many_ways(given: dict[str, Any], form: Form | None) -> None:
    assert answer_form(given) == form


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"structured_outputs": {"whitespace_pattern": "a", "json": {}}}, "structured_outputs.whitespace_pattern"),
        ({"structured_outputs": {"structural_tag": 1}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": [1]}}, "structured_outputs.json"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": 1}}}, "response_format.json_schema.name"),
    ],
)
def test_a_malformed_one_is_refused_at_its_place(given: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        answer_form(given)
    assert (refusal.value.status, refusal.value.param) == (400, param)


def test_an_error_of_the_model_has_the_parameter_s_name() -> None:
    """That of the endpoint, where it has another word for response_format."""
    assert with_form_name({}, {"guided_regex": "a"})["guided_decoding_guide"] == "guided_regex"
    names = with_form_name({"text_input": "prompt", "response_format": "text.format"}, {})
    assert (names["guided_decoding_guide"], names["text_input"]) == ("text.format", "prompt")
