"""Free text up to a marker: what stands before a form or between tags."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .faults import fault
from .grammar import EMPTY, Node, Rep, alt, chars, complement, of_text, optional, seq


def without(markers: Collection[str], place: str, hidden: str = "") -> Node:
    """Texts in which none of `markers` is found; the character that markers begin with must follow such a text, or its end.

    `hidden`: characters that free text may not have. Raises InvalidRequest for markers that begin differently, or have
    their first character twice: texts without them cannot be told character by character in a few states.
    """
    firsts = {marker[:1] for marker in markers}
    if len(firsts) != 1 or "" in firsts or any(marker[1:].count(marker[0]) for marker in markers):
        raise fault(
            place, "expected markers that begin with the same character, which none of them has again, such as «<»"
        )
    first = firsts.pop()
    others = complement(chars(*of_text(first).ranges, *of_text(hidden).ranges))
    return seq(Rep(others), Rep(seq(of_text(first), _behind(first, sorted({m[1:] for m in markers}), hidden))))


def _behind(first: str, rests: Sequence[str], hidden: str) -> Node:
    """What may follow the first character: a part of a marker, then anything that does not complete it, up to the next one."""
    by_next: dict[str, list[str]] = {}
    for rest in rests:
        if rest:
            by_next.setdefault(rest[0], []).append(rest[1:])
    taken = of_text("".join(by_next) + first + hidden)
    text = complement(chars(*of_text(first + hidden).ranges))
    parts: list[Node] = [seq(complement(taken), Rep(text))]
    parts += [seq(of_text(c), _behind(first, r, hidden)) for c, r in by_next.items() if "" not in r]
    return optional(alt(*parts)) if parts else EMPTY
