"""Compiles a form to the grammar that engines are given, as text, and keeps what was compiled.

The grammar is checked for its size first: what an engine makes of it costs time and memory in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...types import Form
from .ebnf import parse_grammar
from .faults import fault
from .free_text import without
from .grammar import Grammar, Lit, Node, Ref, Rep, alt, optional, seq
from .latest import LatestTexts
from .regex import whole_match
from .schema.json_schema import SchemaBounds, SchemaCompiler, parse_json
from .structural_tags import structural_tag

Thinking = Literal["none", "may", "open"]
"""Whether an answer has a <think> block before its form: never, if the model opens one, or since the prompt opened one."""
_CLOSE = "</think>"


@dataclass(frozen=True, slots=True)
class FormBounds(SchemaBounds):
    """Also the most bytes of what is asked, and states of the grammar that is made of it."""

    bytes: int = 128 * 1024
    states: int = 16_384


DEFAULT_BOUNDS = FormBounds()


_MOST = 256
_MOST_BYTES = 16 << 20


class FormCompiler:
    """Compiles forms and keeps the latest 256, up to 16 MiB with their grammars. Thread-safe."""

    def __init__(self, bounds: FormBounds = DEFAULT_BOUNDS, marks: Mapping[str, str] | None = None) -> None:
        self._bounds = bounds
        self._marks = marks or {}
        self._latest = LatestTexts(_MOST, _MOST_BYTES)

    def ebnf(self, form: Form, thinking: Thinking = "none") -> str:
        """The grammar of an answer of a form. Raises InvalidRequest, naming the place, for what is malformed or not kept."""

        def compiled() -> str:
            return form_grammar(form, self._bounds, thinking).ebnf(self._marks)

        return self._latest.get(form.spec, (form.kind, thinking), compiled)


def form_grammar(form: Form, bounds: FormBounds, thinking: Thinking = "none") -> Grammar:
    """The grammar of a form's texts, with the thinking before them. Raises InvalidRequest as FormCompiler.ebnf does."""
    size = len(form.spec.encode("utf-8", "surrogatepass"))
    if size > bounds.bytes:
        raise fault(form.kind, f"{size} bytes are more than the {bounds.bytes} that are taken here (limits.form_bytes)")
    grammar = Grammar()
    try:
        grammar.root = seq(_thinking(thinking), _answer(form, grammar, bounds))
        finite = grammar.prune()
        states = grammar.size()
    except RecursionError:
        raise fault(form.kind, "is nested too deeply") from None
    if not finite:
        raise fault(form.kind, "no text fits; a value is forbidden, or refers to itself without end")
    if odd := grammar.odd_character():
        raise fault(form.kind, f"U+{ord(odd):04X} is no character that a text can have; leave it out")
    if states > bounds.states:
        raise fault(
            form.kind,
            f"makes {states} states, more than the {bounds.states} that are taken here (limits.form_states); "
            "lower its maxLength, maxItems and counts, or leave some of it out",
        )
    return grammar


def _thinking(thinking: Thinking) -> Node:
    opened = seq(without((_CLOSE,), "#"), Lit(_CLOSE), Rep(Lit("\n"), 0, 2))
    if thinking == "open":
        return opened
    return optional(seq(Lit("<think>"), opened)) if thinking == "may" else Lit("")


def _answer(form: Form, grammar: Grammar, bounds: FormBounds) -> Node:
    if form.kind == "regex":
        return whole_match(form.spec, "regex")
    if form.kind == "grammar":
        found = parse_grammar(form.spec, "grammar")
        grammar.rules |= found.rules
        return found.root
    if form.kind == "choice":
        return _choice(parse_json(form.spec, "choice"), bounds)
    compiler = SchemaCompiler(grammar, bounds)
    if form.kind == "json_object":
        return Ref("object0")
    if form.kind == "json_schema":
        return compiler.root(parse_json(form.spec, "#"))
    return structural_tag(grammar, compiler, parse_json(form.spec, "structural_tag"), "structural_tag")


def _choice(given: Any, bounds: FormBounds) -> Node:
    if not isinstance(given, list) or not given or not all(isinstance(text, str) and text for text in given):
        raise fault("choice", "expected a list of texts, none of them empty")
    if len(given) > bounds.alternatives:
        raise fault(
            "choice",
            f"{len(given)} are more than the {bounds.alternatives} that are taken here (limits.form_alternatives)",
        )
    return alt(*map(Lit, given))
