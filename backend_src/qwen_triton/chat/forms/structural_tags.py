"""Structural tags as grammars: forms between a beginning and an end, with free text around them.

Both of xgrammar's forms are read: `{"structures": [{begin, schema, end}], "triggers": […]}` of TensorRT-LLM and older vLLM,
and `{"type": "structural_tag", "format": {…}}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...types import Form
from .ebnf import parse_grammar
from .faults import fault
from .free_text import without
from .grammar import EMPTY, HIGHEST, Grammar, Lit, Node, Rep, alt, chars, optional, seq
from .regex import whole_match
from .schema.json_schema import SchemaCompiler, parse_json
from .xml_parameters import xml_parameters

ANYTHING = Rep(chars((0, HIGHEST)))
_Part = Mapping[str, Any]


def structural_tag(grammar: Grammar, compiler: SchemaCompiler, given: Any, place: str) -> Node:
    """The texts of a structural tag. Raises InvalidRequest, naming the place, for what is malformed or not kept."""
    if isinstance(given, Mapping) and given.get("type") == "structural_tag":
        return _Tags(grammar, compiler).part(given.get("format"), f"{place}/format")
    if isinstance(given, Mapping) and "structures" in given:
        tags = [
            {
                "type": "tag",
                "begin": tag.get("begin"),
                "content": {"type": "json_schema", "json_schema": tag.get("schema", {})},
                "end": tag.get("end"),
            }
            for tag in _list(given, "structures", place)
            if isinstance(tag, Mapping)
        ]
        whole = {"type": "triggered_tags", "triggers": given.get("triggers"), "tags": tags}
        return _Tags(grammar, compiler).part(whole, place)
    raise fault(place, "expected an object with structures and triggers, or with type structural_tag and format")


def form_part(form: Form) -> dict[str, Any]:
    """A form as a part of a structural tag. Raises InvalidRequest for one that is malformed."""
    if form.kind == "json_object":
        return {"type": "json_schema", "json_schema": {"type": "object"}}
    if form.kind == "regex":
        return {"type": "regex", "pattern": form.spec}
    if form.kind == "grammar":
        return {"type": "grammar", "grammar": form.spec}
    given = parse_json(form.spec, form.kind)
    if form.kind == "json_schema":
        return {"type": "json_schema", "json_schema": given}
    if form.kind == "choice":
        return {"type": "or", "elements": [{"type": "const_string", "value": text} for text in given]}
    if isinstance(given, Mapping) and given.get("type") == "structural_tag":
        return dict(given["format"]) if isinstance(given.get("format"), Mapping) else {}
    raise fault("structural_tag", "beside tools only the form with type structural_tag is taken")


class _Tags:
    def __init__(self, grammar: Grammar, compiler: SchemaCompiler) -> None:
        self._grammar = grammar
        self._compiler = compiler
        self._kinds: Mapping[str, Callable[[_Part, str], Node]] = {
            "const_string": lambda part, place: Lit(_text(part, "value", place)),
            "json_schema": lambda part, place: compiler.root(part.get("json_schema"), f"{place}/json_schema"),
            "qwen_xml_parameter": lambda p, place: xml_parameters(
                compiler, p.get("json_schema"), f"{place}/json_schema"
            ),
            "regex": lambda part, place: whole_match(_text(part, "pattern", place), f"{place}/pattern"),
            "grammar": self._grammar_part,
            "any_text": lambda _part, _place: ANYTHING,
            "sequence": self._sequence,
            "or": lambda part, place: alt(*self._elements(part, place)),
            "tag": self._tag,
            "triggered_tags": self._triggered,
            "tags_with_separator": self._separated,
        }

    def part(self, given: Any, place: str) -> Node:
        kind = given.get("type") if isinstance(given, Mapping) else None
        if not isinstance(kind, str) or kind not in self._kinds:
            raise fault(f"{place}/type", f"expected one of {', '.join(self._kinds)}, got {str(kind)[:100]!r}")
        return self._kinds[kind](given, place)

    def _grammar_part(self, part: _Part, place: str) -> Node:
        found = parse_grammar(_text(part, "grammar", place), f"{place}/grammar")
        if any(name in self._grammar.rules for name in found.rules):
            raise fault(f"{place}/grammar", "a second grammar is not taken; put all rules into one")
        self._grammar.rules |= found.rules
        return found.root

    def _elements(self, part: _Part, place: str) -> list[Node]:
        return [self.part(e, f"{place}/elements/{i}") for i, e in enumerate(_list(part, "elements", place))]

    def _sequence(self, part: _Part, place: str) -> Node:
        """One after the other; free text ends where the beginning of the next part is found."""
        elements = _list(part, "elements", place)
        found = self._elements(part, place)
        for index, element in enumerate(elements[:-1]):
            if isinstance(element, Mapping) and element.get("type") == "any_text":
                marker = _beginning(elements[index + 1], f"{place}/elements/{index + 1}")
                found[index] = without((marker,), f"{place}/elements/{index}")
        return seq(*found)

    def _tag(self, part: _Part, place: str) -> Node:
        begin, end = _text(part, "begin", place), _text(part, "end", place)
        content = part.get("content")
        if isinstance(content, Mapping) and content.get("type") == "any_text":
            return seq(Lit(begin), without((end,), f"{place}/end"), Lit(end))
        return seq(Lit(begin), self.part(content, f"{place}/content"), Lit(end))

    def _triggered(self, part: _Part, place: str) -> Node:
        """Free text in which a trigger begins one of the tags."""
        triggers, tags = _list(part, "triggers", place), _list(part, "tags", place)
        for index, trigger in enumerate(triggers):
            if not isinstance(trigger, str) or not trigger:
                raise fault(f"{place}/triggers/{index}", "expected a text")
        for index, tag in enumerate(tags):
            begin = tag.get("begin") if isinstance(tag, Mapping) else None
            if not isinstance(begin, str) or not any(begin.startswith(trigger) for trigger in triggers):
                raise fault(f"{place}/tags/{index}/begin", "expected a text that begins with a trigger")
        text = without(triggers, f"{place}/triggers")
        one = alt(*(self._tag(tag, f"{place}/tags/{i}") for i, tag in enumerate(tags)))
        if part.get("stop_after_first"):
            return one if part.get("at_least_one") else seq(text, optional(one))
        more = seq(text, Rep(seq(one, text)))
        return seq(one, more) if part.get("at_least_one") else more

    def _separated(self, part: _Part, place: str) -> Node:
        tags = _list(part, "tags", place)
        one = alt(*(self._tag(tag, f"{place}/tags/{i}") for i, tag in enumerate(tags)))
        more = EMPTY if part.get("stop_after_first") else Rep(seq(Lit(_text(part, "separator", place)), one))
        return seq(one, more) if part.get("at_least_one") else alt(EMPTY, seq(one, more))


def _beginning(element: Any, place: str) -> str:
    """The text that a part begins with, which ends the free text before it."""
    for name in ("begin", "value"):
        if isinstance(element, Mapping) and isinstance(element.get(name), str) and element[name]:
            return str(element[name])
    raise fault(place, "behind any_text, expected a tag or a const_string, which ends it")


def _text(part: _Part, name: str, place: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise fault(f"{place}/{name}", "expected a text")
    return value


def _list(part: _Part, name: str, place: str) -> Sequence[Any]:
    value = part.get(name)
    if not isinstance(value, list) or not value:
        raise fault(f"{place}/{name}", "expected a list, not empty")
    return value
