"""JSON as text: strings and their escapes, blanks between values, and any value at all.

Blanks are bounded: one, or a line end with an indentation. A string has no escapes of code points, which would let half a
character through; a model writes the character itself.
"""

from __future__ import annotations

import json

from ..grammar import (
    EMPTY,
    Alt,
    Chars,
    Lit,
    Node,
    Ref,
    Rep,
    Seq,
    alt,
    chars,
    common,
    complement,
    of_text,
    optional,
    seq,
)
from .numbers import NUMBER

_INDENT = 32
GAP = optional(alt(Lit(" "), seq(Lit("\n"), Rep(Lit(" "), 0, _INDENT))))
"""Between brackets, commas and values."""
COMMA = seq(Lit(","), Ref("gap"))
COLON = seq(Lit(":"), optional(Lit(" ")))
DEEPEST = 8
"""How deep the objects and arrays of a value without a schema are nested."""

_CONTROLS = chars((0, 0x1F))
_RESERVED = chars(*((ord(c), ord(c)) for c in '"\\'))
_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
PLAIN = complement(chars(*_CONTROLS.ranges, *_RESERVED.ranges, (0x7F, 0x7F)))
CHARACTER = alt(PLAIN, seq(Lit("\\"), of_text('"\\/bfnrt')))
"""One character of a string that has no other bound."""

RULES: dict[str, Node] = {
    "gap": GAP,
    "string": seq(Lit('"'), Rep(CHARACTER), Lit('"')),
    "number": NUMBER,
    "scalar": alt(Ref("string"), Ref("number"), Lit("true"), Lit("false"), Lit("null")),
}
"""Rules that every grammar of JSON may refer to."""


def _any_rules() -> dict[str, Node]:
    rules: dict[str, Node] = {f"any{DEEPEST}": Ref("scalar")}
    for depth in range(DEEPEST):
        inner = Ref(f"any{depth + 1}")
        rules[f"object{depth}"] = mapping(Ref("string"), inner)
        rules[f"any{depth}"] = alt(Ref("scalar"), Ref(f"object{depth}"), array_of(inner))
    return rules


def mapping(key: Node, value: Node, least: int = 0, most: int | None = None) -> Node:
    """An object of `least` to `most` pairs."""
    pair = seq(key, COLON, value)
    return bracketed("{", "}", listed(pair, max(1, least), most), may_be_empty=least == 0)


def array_of(item: Node, least: int = 0, most: int | None = None) -> Node:
    """An array of `least` to `most` items."""
    return bracketed("[", "]", listed(item, max(1, least), most), may_be_empty=least == 0)


def listed(item: Node, least: int, most: int | None) -> Node:
    """`least` (1 or more) to `most` items with commas between."""
    if most is not None and most < least:
        return Alt(())
    return seq(item, Rep(seq(COMMA, item), least - 1, None if most is None else most - 1))


def bracketed(opening: str, closing: str, inner: Node, *, may_be_empty: bool) -> Node:
    """`inner` between brackets with blanks; empty brackets have none."""
    full = seq(Lit(opening), Ref("gap"), inner, Ref("gap"), Lit(closing))
    return alt(Lit(opening + closing), full) if may_be_empty else full


RULES |= _any_rules()


def literal(value: object) -> Node:
    """A JSON value as text, written as Python's json writes it, characters beyond ASCII as they are."""
    return Lit(json.dumps(value, ensure_ascii=False))


def string(content: Node) -> Node:
    """A JSON string whose text `content` matches."""
    return seq(Lit('"'), encoded(content), Lit('"'))


def encoded(node: Node) -> Node:
    """A grammar of texts as one of what JSON writes for them between the quotes. Without rules."""
    if isinstance(node, Lit):
        return Lit(json.dumps(node.text, ensure_ascii=False)[1:-1]) if node.text else EMPTY
    if isinstance(node, Chars):
        return _encoded_set(node)
    if isinstance(node, Seq):
        return seq(*map(encoded, node.parts))
    if isinstance(node, Alt):
        return alt(*map(encoded, node.parts))
    if isinstance(node, Rep):
        return Rep(encoded(node.node), node.least, node.most)
    raise ValueError("a rule has no encoding")


def _encoded_set(node: Chars) -> Node:
    """The set's plain characters, and the others escaped; of control characters only those with a short escape."""
    parts: list[Node] = []
    plain = common(node, PLAIN)
    if plain.ranges:
        parts.append(plain)
    escaped = [text for character, text in _SHORT.items() if common(node, of_text(character)).ranges]
    if escaped:
        parts.append(seq(Lit("\\"), of_text("".join(text[1] for text in escaped))))
    return alt(*parts)
