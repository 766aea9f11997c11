"""A caller's grammar in EBNF, as xgrammar and llama.cpp (GBNF) read it: parsed so that a broken one never reaches an engine.

A rule is `name ::= …` with texts in quotes, classes in brackets, groups, `|`, `* + ?` and counts in braces; `root` is the
first. Comments begin with #.
"""

from __future__ import annotations

import re

from .faults import fault
from .grammar import Grammar, Lit, Node, Ref, Rep, alt, chars, complement, of_text, seq

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+|\#[^\n]*)|(?P<define>(?P<name>[A-Za-z_][\w-]*)[ \t\r\n]*::=)|(?P<text>"(?:[^"\\\n]|\\.)*")"""
    r"""|(?P<class>\[(?:[^\]\\\n]|\\.)*\])|(?P<ref>[A-Za-z_][\w-]*)|(?P<times>\{[ ]*\d{1,6}[ ]*(?:,[ ]*\d{0,6}[ ]*)?\})"""
    r"""|(?P<mark>[|()*+?.])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b", "v": "\v", "0": "\0", "a": "\a", "e": "\x1b"}
_PREFIX = "user_"
_DEEPEST = 64


def parse_grammar(text: str, place: str) -> Grammar:
    """The grammar. Raises InvalidRequest with the position of what is malformed, and for a rule that is missing."""
    return _Parser(text, place).grammar()


class _Parser:
    def __init__(self, text: str, place: str) -> None:
        self._text = text
        self._place = place
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._fault(at, f"{text[at : at + 20]!r} is no part of a grammar")
            kind = match.lastgroup or ""
            if match["define"]:
                self._tokens.append(("define", match["name"], at))
            elif kind != "blank":
                self._tokens.append((kind, match[0], at))
            at = match.end()
        self._at = 0
        self._depth = 0

    def grammar(self) -> Grammar:
        found = Grammar()
        while self._at < len(self._tokens):
            kind, name, at = self._tokens[self._at]
            if kind != "define":
                raise self._fault(at, "expected a rule, name ::= …")
            if _PREFIX + name in found.rules:
                raise self._fault(at, f"the rule {name!r} is there twice")
            self._at += 1
            found.rules[_PREFIX + name] = self._alternatives()
        if f"{_PREFIX}root" not in found.rules:
            raise self._fault(0, "has no rule root")
        found.root = Ref(f"{_PREFIX}root")
        for _, name, at in (token for token in self._tokens if token[0] == "ref"):
            if _PREFIX + name not in found.rules:
                raise self._fault(at, f"there is no rule {name[:100]!r}")
        return found

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "", len(self._text))

    def _alternatives(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fault(self._peek()[2], f"groups are nested more than {_DEEPEST} deep")
        parts = [self._sequence()]
        while self._peek()[1] == "|":
            self._at += 1
            parts.append(self._sequence())
        self._depth -= 1
        return alt(*parts)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while True:
            kind, text, at = self._peek()
            if kind in ("define", "end") or text in ("|", ")"):
                return seq(*parts)
            self._at += 1
            parts.append(self._counted(self._atom(kind, text, at)))

    def _counted(self, node: Node) -> Node:
        kind, text, at = self._peek()
        if kind == "times":
            low, comma, high = text[1:-1].replace(" ", "").partition(",")
            least, most = int(low), int(high) if high else None if comma else int(low)
            if most is not None and most < least:
                raise self._fault(at, "a count whose numbers are in the wrong order")
        elif text in ("*", "+", "?") and kind == "mark":
            least, most = int(text == "+"), 1 if text == "?" else None
        else:
            return node
        self._at += 1
        return self._counted(Rep(node, least, most))

    def _atom(self, kind: str, text: str, at: int) -> Node:
        if kind == "text":
            return Lit("".join(self._characters(text[1:-1], at + 1)))
        if kind == "class":
            return self._class(text[1:-1], at + 1)
        if kind == "ref":
            return Ref(_PREFIX + text)
        if text == ".":
            return complement(of_text("\n"))
        if text == "(":
            inner = self._alternatives()
            if self._peek()[1] != ")":
                raise self._fault(at, "a ( without its )")
            self._at += 1
            return inner
        raise self._fault(at, f"{text!r} without anything before it")

    def _class(self, text: str, at: int) -> Node:
        negated = text.startswith("^")
        letters = self._characters(text[1:] if negated else text, at + negated)
        hyphens = self._plain_hyphens(text[1:] if negated else text)
        ranges, index = [], 0
        while index < len(letters):
            low = high = letters[index]
            if index + 1 in hyphens and index + 2 < len(letters):
                high = letters[index + 2]
                index += 2
            if ord(high) < ord(low):
                raise self._fault(at, "a range whose ends are in the wrong order")
            ranges.append((ord(low), ord(high)))
            index += 1
        found = chars(*ranges)
        return complement(found) if negated else found

    @staticmethod
    def _plain_hyphens(text: str) -> set[int]:
        """Which of the class's characters are hyphens that were not escaped."""
        members = re.findall(r"\\x..|\\u....|\\U........|\\.|[^\\]", text, re.DOTALL)
        return {index for index, member in enumerate(members) if member == "-"}

    def _characters(self, text: str, at: int) -> list[str]:
        """The characters of a text with escapes."""
        found, index = [], 0
        while index < len(text):
            letter = text[index]
            index += 1
            if letter != "\\":
                found.append(letter)
                continue
            letter = text[index]
            index += 1
            digits = {"x": 2, "u": 4, "U": 8}.get(letter, 0)
            if digits:
                code = text[index : index + digits]
                if len(code) != digits or not re.fullmatch("[0-9A-Fa-f]+", code) or int(code, 16) > 0x10FFFF:
                    raise self._fault(at + index, f"a code needs {digits} hexadecimal digits")
                index += digits
                found.append(chr(int(code, 16)))
            elif letter in _ESCAPES:
                found.append(_ESCAPES[letter])
            elif letter.isalnum():
                raise self._fault(at + index, f"\\{letter} is no escape")
            else:
                found.append(letter)
        return found

    def _fault(self, at: int, text: str) -> Exception:
        return fault(self._place, f"in the grammar at {at}: {text}")
