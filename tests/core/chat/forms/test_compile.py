"""Compiled forms: every text of a grammar is an instance, and what is not kept is refused by name and place."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema
import pytest

from qwen_triton.chat.forms.compile import FormBounds, FormCompiler, form_grammar
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import Form
from tests.support.form_schemas import BAD_SCHEMAS, SCHEMAS
from tests.support.grammar_texts import TextDrawer


def validator(schema: Any) -> Any:
    draft4 = "draft 4" in json.dumps(schema) or _is_draft4(schema)
    kind = jsonschema.Draft4Validator if draft4 else jsonschema.Draft202012Validator
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def _is_draft4(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        isinstance(schema.get("items"), list) or schema.get("exclusiveMinimum") is True
    )


def schema_form(schema: Any) -> Form:
    return Form("json_schema", json.dumps(schema))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_text_of_a_schemas_grammar_is_an_instance(name: str) -> None:
    """The wildest texts that the grammar allows, not those that a model would write."""
    schema = SCHEMAS[name]
    drawer = TextDrawer(form_grammar(schema_form(schema), FormBounds()), Random(name))
    check = validator(schema)
    for _ in range(60):
        text = drawer.draw()
        check.validate(json.loads(text))


@pytest.mark.parametrize("name", BAD_SCHEMAS)
def test_a_schema_that_is_not_kept_is_refused_at_its_place(name: str) -> None:
    schema, place = BAD_SCHEMAS[name]
    with pytest.raises(InvalidRequest) as refusal:
        FormCompiler().ebnf(schema_form(schema))
    assert str(refusal.value).startswith(f"guided_decoding_guide: {place}: ")
