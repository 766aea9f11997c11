"""Regular expressions as grammars: what JSON Schema's `pattern` and engines' guides have in common.

Taken are literals, classes, groups, alternatives, quantifiers (greedy or lazy: the texts are the same), `\\d \\w \\s` and
their complements, and anchors at the ends of an alternative. Refused by name: lookaround, back references, word borders,
flags and Unicode properties. The work is in proportion to the pattern's length.
"""

from __future__ import annotations

from dataclasses import dataclass

from .faults import fault
from .grammar import (
    EMPTY,
    NEVER,
    Chars,
    Lit,
    Node,
    Range,
    Rep,
    Seq,
    alt,
    chars,
    common,
    complement,
    of_text,
    seq,
)

_DEEPEST = 64
_ASCII = chars((0x20, 0x7E))
"""Printable: validators count more of the others as blanks than ECMA does."""
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_SHORTHANDS = {
    "d": chars((ord("0"), ord("9"))),
    "w": chars((ord("0"), ord("9")), (ord("A"), ord("Z")), (ord("a"), ord("z")), (ord("_"), ord("_"))),
    "s": of_text(" \t\n\r\f\v"),
}
ANY = complement(of_text("\n\r\u2028\u2029"))
"""What a dot stands for."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One alternative of a pattern, and whether it is anchored at the text's beginning and end."""

    node: Node
    starts: bool
    ends: bool


def parse_pattern(pattern: str, place: str) -> tuple[Branch, ...]:
    """The alternatives of a pattern. Raises InvalidRequest for what is refused or malformed, with the position."""
    return _Parser(pattern, place).branches()


def whole_match(pattern: str, place: str) -> Node:
    """The texts that the whole pattern matches, from beginning to end. Raises InvalidRequest."""
    return alt(*(branch.node for branch in parse_pattern(pattern, place)))


def search_match(pattern: str, place: str, around: Node) -> Node:
    """The texts in which the pattern is found; `around`: what may stand before and behind. Raises InvalidRequest."""
    return alt(
        *(
            seq(EMPTY if b.starts else around, b.node, EMPTY if b.ends else around)
            for b in parse_pattern(pattern, place)
        )
    )


class _Parser:
    def __init__(self, pattern: str, place: str) -> None:
        self._text = pattern
        self._place = place
        self._at = 0
        self._depth = 0

    def branches(self) -> tuple[Branch, ...]:
        found = [self._branch()]
        while self._take("|"):
            found.append(self._branch())
        if self._at < len(self._text):
            raise self._fault("a ) without its (")
        return tuple(found)

    def _branch(self) -> Branch:
        """An alternative at the top, where anchors have a meaning; one group around all of it may hold them too."""
        starts = self._take("^")
        node, ends = self._sequence(top=True)
        return Branch(node, starts, ends)

    def _sequence(self, top: bool = False) -> tuple[Node, bool]:
        parts: list[Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if self._take("$"):
                if not top or (self._at < len(self._text) and self._text[self._at] != "|"):
                    raise self._fault("$ only at the end of an alternative")
                return seq(*parts), True
            parts.append(self._quantified())
        return seq(*parts), False

    def _quantified(self) -> Node:
        node = self._atom()
        if self._at < len(self._text) and (self._text[self._at] in "*+?" or self._is_count()):
            least, most = self._quantifier()
            if self._at < len(self._text) and self._text[self._at] == "?":
                self._at += 1
            elif self._at < len(self._text) and self._text[self._at] in "*+":
                raise self._fault("possessive and doubled quantifiers are not supported")
            return _repeated(node, least, most)
        return node

    def _quantifier(self) -> tuple[int, int | None]:
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        end = self._text.index("}", self._at)
        low, comma, high = self._text[self._at + 1 : end].partition(",")
        least, most = int(low or 0), int(high) if high else None if comma else int(low)
        if most is not None and most < least:
            raise self._fault("a quantifier's numbers are in the wrong order")
        self._at = end + 1
        return least, most

    def _is_count(self) -> bool:
        """Whether a quantifier in braces stands here; a brace that begins none is a character."""
        if self._text[self._at] != "{":
            return False
        inner = self._text[self._at + 1 : self._at + 16].partition("}")
        low, comma, high = inner[0].partition(",")
        digits = low.isascii() and low.isdigit() and (not high or (high.isascii() and high.isdigit()))
        return bool(inner[1]) and digits and len(low) <= 6 and len(high) <= 6 and (bool(comma) or not high)

    def _atom(self) -> Node:
        character = self._text[self._at]
        self._at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            return ANY
        if character == "\\":
            found = self._escape(in_class=False)
            return found if isinstance(found, Chars) else Lit(found)
        if character == "^":
            raise self._fault("^ only at the beginning of an alternative")
        if character in "*+?":
            raise self._fault("a quantifier without anything before it")
        return Lit(character)

    def _group(self) -> Node:
        if self._take("?"):
            if self._take(":"):
                pass
            elif self._text[self._at : self._at + 2] == "P<" or (
                self._text[self._at : self._at + 1] == "<" and self._text[self._at + 1 : self._at + 2] not in ("=", "!")
            ):
                end = self._text.find(">", self._at)
                if end < 0:
                    raise self._fault("a group's name without its end")
                self._at = end + 1
            else:
                raise self._fault("lookaround, flags and conditions are not supported")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fault(f"groups are nested more than {_DEEPEST} deep")
        parts = [self._sequence()[0]]
        while self._take("|"):
            parts.append(self._sequence()[0])
        if not self._take(")"):
            raise self._fault("a ( without its )")
        self._depth -= 1
        return alt(*parts)

    def _class(self) -> Chars:
        negated = self._take("^")
        ranges: list[Range] = []
        plain = True
        while not self._take("]"):
            low = self._member()
            if isinstance(low, Chars):
                plain = False
                ranges += low.ranges
            elif self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 : self._at + 2] not in (
                "]",
                "",
            ):
                self._at += 1
                high = self._member()
                if isinstance(high, Chars) or ord(high) < ord(low):
                    raise self._fault("a range whose ends are in the wrong order")
                ranges.append((ord(low), ord(high)))
            else:
                ranges.append((ord(low), ord(low)))
        found = chars(*ranges)
        if not negated:
            return found
        return complement(found) if plain else common(complement(found), _ASCII)

    def _member(self) -> Chars | str:
        if self._at >= len(self._text):
            raise self._fault("a [ without its ]")
        character = self._text[self._at]
        self._at += 1
        return self._escape(in_class=True) if character == "\\" else character

    def _escape(self, in_class: bool) -> Chars | str:
        """What stands behind a backslash. The complement of a shorthand is ASCII's: engines and validators disagree on more."""
        if self._at >= len(self._text):
            raise self._fault("a backslash at the end")
        letter = self._text[self._at]
        self._at += 1
        if letter in _SHORTHANDS:
            return _SHORTHANDS[letter]
        if letter.lower() in _SHORTHANDS:
            return common(complement(_SHORTHANDS[letter.lower()]), _ASCII)
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter in "xu":
            return self._code(2 if letter == "x" else 4)
        if letter == "b" and in_class:
            return "\b"
        if letter.isalnum():
            raise self._fault(f"\\{letter} is not supported")
        return letter

    def _code(self, digits: int) -> str:
        text = self._text[self._at : self._at + digits]
        try:
            if len(text) != digits or not text.isalnum():
                raise ValueError
            found = chr(int(text, 16))
        except ValueError:
            raise self._fault(f"a code needs {digits} hexadecimal digits") from None
        if "\ud800" <= found <= "\udfff":
            raise self._fault("surrogates are no characters; write the character itself")
        self._at += digits
        return found

    def _take(self, character: str) -> bool:
        if self._at < len(self._text) and self._text[self._at] == character:
            self._at += 1
            return True
        return False

    def _fault(self, text: str) -> Exception:
        return fault(self._place, f"in the pattern at {self._at}: {text}")


def _repeated(node: Node, least: int, most: int | None) -> Node:
    if node in (EMPTY, NEVER) or (isinstance(node, Seq) and not node.parts):
        return EMPTY
    return Rep(node, least, most)
