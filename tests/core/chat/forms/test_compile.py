"""Compiled forms: every text of a grammar is an instance, and what is not kept is refused by name and place."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from qwen_triton.chat.forms.compile import FormBounds, FormCompiler, form_grammar
from qwen_triton.chat.forms.grammar import FIRST_MARK
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import Form
from tests.support.form_answers import validator
from tests.support.form_schemas import BAD_SCHEMAS, SCHEMAS
from tests.support.grammar_texts import TextDrawer


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


@pytest.mark.parametrize("thinking", ["may", "open"])
def test_thinking_stands_before_the_form(thinking: Any) -> None:
    """A think block and then the form; the block may be left out where the model opens it itself."""
    drawer = TextDrawer(form_grammar(Form("choice", '["yes", "no"]'), FormBounds(), thinking), Random(1))
    texts = [drawer.draw() for _ in range(50)]
    assert all(text.rpartition("</think>")[2].strip("\n") in ("yes", "no") for text in texts)
    assert any(text in ("yes", "no") for text in texts) is (thinking == "may")
    assert all(text.count("</think>") == 1 for text in texts if text not in ("yes", "no"))


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        ("[a-c]{2,3}x?", r"[a-c]{2,3}x?"), ("(?:ab|c)+d", r"(?:ab|c)+d"), (r"\d{3}-\w+", r"[0-9]{3}-[0-9A-Za-z_]+"),
        (r"[^a-z\s]{2}", r"[^a-z\s]{2}"), (r"\[\]\(\)\.\\", r"\[\]\(\)\.\\"), ("^a$|^b$", "a|b"),
        (r"[\u4e00-\u9fff]+", "[一-鿿]+"),
        ("(?P<year>[0-9]{4})?", "([0-9]{4})?"), ("a{2}b{1,}c{,2}", "aab+c\\{,2\\}"), ("[]a]|[a-]", "[a-]"), ("a*?b+?", "a*b+"),
    ],
)  # fmt: skip
def test_a_regex_is_matched_as_a_whole(pattern: str, whole: str) -> None:
    """Compared with Python's own; `[]` is empty, as in ECMA's regexes."""
    drawer = TextDrawer(form_grammar(Form("regex", pattern), FormBounds()), Random(pattern))
    assert all(re.fullmatch(whole, drawer.draw()) for _ in range(40))


@pytest.mark.parametrize(
    "pattern", ["(", ")", "a**", "*a", "[a", "\\", "(?=a)", "(?i)a", r"\1", r"\bа", "a{3,1}", "a^b", "a$b", r"\p{L}"]
)
def test_a_regex_that_is_not_kept_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="guided_decoding_guide: regex: in the pattern at"):
        FormCompiler().ebnf(Form("regex", pattern))


GRAMMAR = (
    'root ::= greeting " " name ("!" | "?")*  # a comment\nname ::= [A-Z] [a-z]{2,4}\ngreeting ::= "你好" | "h\\x69"\n'
)


def test_a_grammar_is_kept() -> None:
    drawer = TextDrawer(form_grammar(Form("grammar", GRAMMAR), FormBounds()), Random(2))
    assert all(re.fullmatch("(你好|hi) [A-Z][a-z]{2,4}[!?]*", drawer.draw()) for _ in range(40))


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("root", "expected a rule"), ('a ::= "b"', "has no rule root"), ("root ::= a", "there is no rule 'a'"),
        ('root ::= "a', "is no part of a grammar"), ('root ::= ("a"', "a \\( without its \\)"),
        ("root ::= *", "without anything before"),
        ('root ::= "a" root', "no text fits"), ('root ::= "a"\nroot ::= "b"', "is there twice"),
        ("root ::= [b-a]", "wrong order"),
        ('root ::= "a"{3,1}', "wrong order"), ('root ::= "\\q"', "is no escape"),
    ],
)  # fmt: skip
def test_a_broken_grammar_is_refused(grammar: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        FormCompiler().ebnf(Form("grammar", grammar))


TAG = {"begin": "<f>", "schema": {"type": "integer", "minimum": 1, "maximum": 9}, "end": "</f>"}


@pytest.mark.parametrize(
    ("tag", "whole"),
    [
        ({"structures": [TAG], "triggers": ["<f>"]}, r"(?s)(?:(?!<f>).)*(?:<f>[1-9]</f>(?:(?!<f>).)*)*"),
        ({"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<f"], "at_least_one": True,
          "stop_after_first": True, "tags": [{"type": "tag", "begin": "<f>", "content": {"type": "regex", "pattern": "x+"},
          "end": "!"}]}}, "<f>x+!"),
        ({"type": "structural_tag", "format": {"type": "sequence", "elements": [
          {"type": "tag", "begin": "<t>", "content": {"type": "any_text"}, "end": "</t>"},
          {"type": "or", "elements": [{"type": "const_string", "value": "a"},
          {"type": "grammar", "grammar": 'root ::= "b"'}]},
          {"type": "tags_with_separator", "separator": ";", "tags": [{"type": "tag", "begin": "<", "content":
          {"type": "json_schema", "json_schema": {"type": "null"}}, "end": ">"}]}]}},
          r"(?s)<t>.*</t>[ab](?:<null>(?:;<null>)*)?"),
    ],
)  # fmt: skip
def test_a_structural_tag_is_kept(tag: Any, whole: str) -> None:
    drawer = TextDrawer(form_grammar(Form("structural_tag", json.dumps(tag)), FormBounds()), Random(3))
    assert all(re.fullmatch(whole, drawer.draw()) for _ in range(60))


@pytest.mark.parametrize(
    ("form", "bounds", "limit"),
    [
        (Form("regex", "a" * 11), FormBounds(bytes=10), "limits.form_bytes"),
        (schema_form({"items": {"items": {"items": {}}}}), FormBounds(depth=2), "limits.form_depth"),
        (schema_form({"enum": [1, 2, 3]}), FormBounds(alternatives=2), "limits.form_alternatives"),
        (Form("choice", '["a", "b", "c"]'), FormBounds(alternatives=2), "limits.form_alternatives"),
        (Form("regex", "(?:a{100}){100}"), FormBounds(states=1000), "limits.form_states"),
        (Form("regex", "(" * 70 + ")" * 70), FormBounds(), "nested more than 64"),
        (schema_form({"maxLength": 999_999}), FormBounds(), "limits.form_states"),
    ],
)
def test_what_is_too_large_is_refused_with_its_limit(form: Form, bounds: FormBounds, limit: str) -> None:
    with pytest.raises(InvalidRequest, match=limit):
        FormCompiler(bounds).ebnf(form)


def doubled(levels: int) -> dict[str, Any]:
    """Every part stands in a branch and beside it, so merging them takes twice the work for each level."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "anyOf": [{"required": ["a"]}, {"minProperties": 1}]}
    return schema


def both(levels: int) -> dict[str, Any]:
    """A definition that is twice the next one."""
    twice = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$defs": {**twice, f"d{levels}": {"type": "object"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [doubled(30), both(24), {"oneOf": [{"const": i} for i in range(4000)]},
     {"properties": {f"p{i}": {} for i in range(1500)}, "anyOf": [{"required": [f"p{i}"]} for i in range(1500)]}],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_a_small_schema_of_much_work_is_refused(schema: Any) -> None:
    """Their states would be few or never counted; merged without a bound they take minutes to ages."""
    with pytest.raises(InvalidRequest, match=r"takes more than 65536 steps \(limits\.form_states\)"):
        FormCompiler().ebnf(schema_form(schema))


@pytest.mark.timeout(60)
def test_long_classes_and_long_chains_of_rules_take_time_in_proportion() -> None:
    """Each was quadratic in its length, which took half a minute."""
    letters = "".join(chr(0x4E00 + 2 * i) for i in range(8000))
    assert FormCompiler().ebnf(Form("regex", f"[{letters}]"))
    rules = "".join(f"a{i} ::= a{i + 1}\n" for i in range(4000))
    assert FormCompiler().ebnf(Form("grammar", f'root ::= a0\n{rules}a4000 ::= "x"\n'))


@pytest.mark.parametrize(
    "form",
    [Form("regex", "\ud800"), Form("choice", '["\\udc00"]'), Form("json_schema", '{"const": "\\ud800"}'),
     Form("json_schema", '{"properties": {"\\ud800": {}}, "required": ["\\ud800"]}'), Form("grammar", 'root ::= "\\ud800"'),
     Form("choice", '["\U0010ffff"]')],
)  # fmt: skip
def test_what_is_no_character_is_refused(form: Form) -> None:
    """Half a surrogate pair, and the marks behind the last character."""
    with pytest.raises(InvalidRequest, match=rf"{form.kind}: U\+[0-9A-F]+ is no character"):
        FormCompiler().ebnf(form)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", "Infinity"])
def test_what_is_no_number_of_json_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="is not JSON"):
        FormCompiler().ebnf(Form("json_schema", f'{{"const": {value}}}'))


def test_the_cache_is_bounded_and_keeps_the_latest() -> None:
    compiler = FormCompiler()
    first = compiler.ebnf(Form("regex", "a{3}"))
    assert compiler.ebnf(Form("regex", "a{3}")) is first
    for index in range(256):
        compiler.ebnf(Form("regex", f"b{{{index + 1}}}"))
    assert compiler.ebnf(Form("regex", "a{3}")) is not first


def test_a_mark_stands_for_a_token_and_is_no_character_of_a_text() -> None:
    """In literals the token's mark; classes end before the marks."""
    text = FormCompiler(marks={"<think>": chr(FIRST_MARK)}).ebnf(Form("grammar", 'root ::= "a<think>b" [^x]'))
    assert text.splitlines()[1] == r'user_root ::= "a\U0010f000b" [\u0000-wy-\ud7ff\ue000-\U0010efff]'
