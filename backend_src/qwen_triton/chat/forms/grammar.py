"""Context-free grammars of texts, and how they are written for the engines: EBNF as xgrammar reads it.

A grammar is made of nodes. `Alt(())` is the language without any text; `prune` removes what can never end. Knows no JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Range = tuple[int, int]
HIGHEST = 0x10EFFF
"""The last code point of a text. Those behind it, of a private area, are marks: each stands for one token of its own."""
FIRST_MARK = HIGHEST + 1
MOST_MARKS = 0x10FFFE - HIGHEST
_SURROGATES = (0xD800, 0xDFFF)


@dataclass(frozen=True, slots=True)
class Lit:
    """One text."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of `ranges` of code points, both ends included; sorted, apart, without surrogates."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Its parts one behind the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of its parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Rep:
    """`node` from `least` to `most` times; `most` None = without end."""

    node: Node
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """The rule of that name."""

    name: str


Node = Lit | Chars | Seq | Alt | Rep | Ref

EMPTY = Lit("")
NEVER = Alt(())


def seq(*parts: Node) -> Node:
    """A sequence, flat and without empty parts."""
    flat: list[Node] = []
    for part in parts:
        for one in part.parts if isinstance(part, Seq) else (part,):
            if isinstance(one, Lit) and flat and isinstance(flat[-1], Lit):
                flat[-1] = Lit(flat[-1].text + one.text)
            elif one != EMPTY:
                flat.append(one)
    return flat[0] if len(flat) == 1 else Seq(tuple(flat)) if flat else EMPTY


def alt(*parts: Node) -> Node:
    """Alternatives, flat and each of them once."""
    flat = dict.fromkeys(one for part in parts for one in (part.parts if isinstance(part, Alt) else (part,)))
    return next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))


def optional(node: Node) -> Node:
    """`node` or nothing."""
    return Rep(node, 0, 1)


def chars(*ranges: Range) -> Chars:
    """A set of characters from ranges in any order, which may overlap."""
    merged: list[Range] = []
    for low, high in sorted(r for given in ranges for r in _without_surrogates(given)):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return Chars(tuple(merged))


def _without_surrogates(given: Range) -> Iterable[Range]:
    low, high = given
    first, last = _SURROGATES
    return ((a, b) for a, b in ((low, min(high, first - 1)), (max(low, last + 1), high)) if a <= b)


def complement(given: Chars) -> Chars:
    """All other characters."""
    found, at = [], 0
    for low, high in given.ranges:
        found.append((at, low - 1))
        at = high + 1
    return chars(*(r for r in (*found, (at, HIGHEST)) if r[0] <= r[1]))


def common(one: Chars, other: Chars) -> Chars:
    """The characters of both."""
    pairs = ((max(a, c), min(b, d)) for a, b in one.ranges for c, d in other.ranges)
    return chars(*(r for r in pairs if r[0] <= r[1]))


def of_text(letters: str) -> Chars:
    """The set of the characters of `letters`."""
    return chars(*((ord(c), ord(c)) for c in letters))


DIGIT = chars((ord("0"), ord("9")))


@dataclass
class Grammar:
    """A root and rules by name. Rules may refer to each other and to themselves."""

    root: Node = NEVER
    rules: dict[str, Node] = field(default_factory=dict)

    def ebnf(self, marks: Mapping[str, str] | None = None) -> str:
        """The grammar as text; its first rule is `root`. Rules that nothing refers to are left out.

        `marks`: by text of a token, the character that stands for it where an engine's vocabulary has one; it takes the
        text's place in every literal, so that the model writes its own token there.
        """
        write = _Writer(marks or {}).written
        lines = [f"root ::= {write(self.root, top=True)}"]
        lines += [f"{name} ::= {write(self.rules[name], top=True)}" for name in self._reached()]
        return "\n".join(lines) + "\n"

    def _reached(self) -> list[str]:
        seen: dict[str, None] = {}
        todo = [self.root]
        while todo:
            node = todo.pop()
            if isinstance(node, Ref) and node.name not in seen:
                seen[node.name] = None
                todo.append(self.rules[node.name])
            todo += reversed(children(node))
        return list(seen)

    def size(self) -> int:
        """What an engine's automaton of it costs, in states: characters, with bounded repetitions written out.

        A state that takes most letters counts as 32, because an engine tries most of its vocabulary in it.
        """
        return _size(self.root) + sum(_size(self.rules[name]) for name in self._reached())

    def odd_character(self) -> str:
        """A character of a literal that no text has, half a surrogate pair or one beyond HIGHEST; "" if there is none."""
        found = map(_odd_character, (self.root, *(self.rules[name] for name in self._reached())))
        return next(filter(None, found), "")

    def prune(self) -> bool:
        """Removes alternatives that no finite text can match. False when nothing is left."""
        alive: set[str] = set()
        users: dict[str, list[str]] = {}
        for name, node in self.rules.items():
            for used in _refs(node):
                users.setdefault(used, []).append(name)
        todo = dict.fromkeys(self.rules)
        while todo:
            more = [name for name in todo if name not in alive and _ends(self.rules[name], alive)]
            alive.update(more)
            todo = dict.fromkeys(user for name in more for user in users.get(name, ()) if user not in alive)
        self.root = _pruned(self.root, alive)
        self.rules = {name: _pruned(self.rules[name], alive) for name in alive}
        return self.root != NEVER


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly in `node`."""
    if isinstance(node, Seq | Alt):
        return node.parts
    return (node.node,) if isinstance(node, Rep) else ()


def _refs(node: Node) -> set[str]:
    return {node.name} if isinstance(node, Ref) else set().union(*map(_refs, children(node)))


def _ends(node: Node, alive: set[str]) -> bool:
    """Whether some finite text matches, given the rules of which that is known."""
    if isinstance(node, Ref):
        return node.name in alive
    if isinstance(node, Alt):
        return any(_ends(part, alive) for part in node.parts)
    if isinstance(node, Seq):
        return all(_ends(part, alive) for part in node.parts)
    if isinstance(node, Rep):
        return node.least == 0 or _ends(node.node, alive)
    return bool(node.ranges) if isinstance(node, Chars) else True


def _pruned(node: Node, alive: set[str]) -> Node:
    if not _ends(node, alive):
        return NEVER
    if isinstance(node, Alt):
        return alt(*(_pruned(part, alive) for part in node.parts if _ends(part, alive)))
    if isinstance(node, Seq):
        return seq(*(_pruned(part, alive) for part in node.parts))
    if isinstance(node, Rep):
        inner = _pruned(node.node, alive)
        return EMPTY if inner == NEVER or node.most == 0 else Rep(inner, node.least, node.most)
    return node


def _odd_character(node: Node) -> str:
    if not isinstance(node, Lit):
        return next(filter(None, map(_odd_character, children(node))), "")
    if node.text.isascii():
        return ""
    return next((c for c in node.text if ord(c) > HIGHEST or _SURROGATES[0] <= ord(c) <= _SURROGATES[1]), "")


_NARROW, _BROAD = 16, 32


def _size(node: Node) -> int:
    if isinstance(node, Lit):
        return len(node.text) + 1
    if isinstance(node, Rep):
        return _size(node.node) * max(1, node.least if node.most is None else node.most) + 1
    if isinstance(node, Chars):
        return _BROAD if sum(high - low + 1 for low, high in node.ranges) > _NARROW else 1
    return 1 + sum(map(_size, children(node)))


def lengths(node: Node) -> tuple[int, int | None]:
    """The fewest and the most characters of a text that matches a node without rules; None = without end."""
    if isinstance(node, Lit):
        return len(node.text), len(node.text)
    if isinstance(node, Chars):
        return 1, 1
    if isinstance(node, Rep):
        least, most = lengths(node.node)
        bounded = None if node.most is None or most is None else most * node.most
        return least * node.least, 0 if most == 0 else bounded
    if isinstance(node, Ref):
        raise ValueError("a rule has no length of its own")
    found = [lengths(part) for part in node.parts]
    mosts = [most for _, most in found if most is not None]
    endless = len(mosts) < len(found)
    if isinstance(node, Seq):
        return sum(least for least, _ in found), None if endless else sum(mosts)
    return min((least for least, _ in found), default=0), None if endless else max(mosts, default=0)


_ESCAPES: Mapping[str, str] = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_IN_CLASS = {**_ESCAPES, "]": "\\]", "-": "\\-", "^": "\\^", "[": "\\["}


class _Writer:
    def __init__(self, marks: Mapping[str, str]) -> None:
        self._marks = marks
        self._any_mark = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True)))) if marks else None

    def written(self, node: Node, top: bool = False) -> str:
        if isinstance(node, Lit):
            return self._literal(node.text)
        if isinstance(node, Chars):
            return _class(node)
        if isinstance(node, Ref):
            return node.name
        if isinstance(node, Seq):
            return " ".join(map(self.written, node.parts))
        if isinstance(node, Alt):
            text = " | ".join(map(self.written, node.parts))
            return text if top else f"({text})"
        inner = self.written(node.node)
        return (f"({inner})" if isinstance(node.node, Seq | Rep) else inner) + _times(node.least, node.most)

    def _literal(self, text: str) -> str:
        if self._any_mark is not None and "<" in text:
            text = self._any_mark.sub(lambda found: self._marks[found[0]], text)
        return '"' + "".join(_escaped(c, _ESCAPES) for c in text) + '"'


def _times(least: int, most: int | None) -> str:
    if most is None:
        return "*" if least == 0 else "+" if least == 1 else f"{{{least},}}"
    return "?" if (least, most) == (0, 1) else f"{{{least},{most}}}" if least != most else f"{{{least}}}"


def _class(node: Chars) -> str:
    """Never negated: xgrammar's negated classes take every character beyond ASCII, marks too."""
    parts = (
        _escaped(chr(low), _IN_CLASS) + ("" if low == high else "-" + _escaped(chr(high), _IN_CLASS))
        for low, high in node.ranges
    )
    return f"[{''.join(parts)}]"


def _escaped(character: str, escapes: Mapping[str, str]) -> str:
    if character in escapes:
        return escapes[character]
    code = ord(character)
    if 32 <= code < 127:
        return character
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
