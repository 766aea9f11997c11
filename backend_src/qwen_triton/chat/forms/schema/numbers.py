"""JSON numbers within bounds, as grammars. All numbers are bounded in digits, so that none goes on without end."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from ..grammar import DIGIT, EMPTY, NEVER, Lit, Node, Rep, alt, chars, optional, seq

_DIGITS = 15
"""Digits of the integer part that an unbounded number may have: all of them are exact as a double."""
BEYOND = 10**_DIGITS
"""The first number that has more digits."""
_FRACTION = 6
"""Digits behind the point beyond those of the bounds."""
_NONZERO = chars((ord("1"), ord("9")))

INTEGER = seq(optional(Lit("-")), alt(Lit("0"), seq(_NONZERO, Rep(DIGIT, 0, _DIGITS - 1))))
"""Any integer."""
NUMBER = seq(
    INTEGER,
    optional(seq(Lit("."), Rep(DIGIT, 1, 15))),
    optional(
        seq(chars((ord("E"), ord("E")), (ord("e"), ord("e"))), optional(chars((43, 43), (45, 45))), Rep(DIGIT, 1, 2))
    ),
)
"""Any number."""
MOST_MULTIPLES = 512


class NumberBounds:
    """`low` and `high` of a number, None for none; `above` and `below`: the bound itself is left out."""

    def __init__(self, low: float | None, high: float | None, *, above: bool = False, below: bool = False) -> None:
        self.low = None if low is None else Fraction(Decimal(repr(low)))
        self.high = None if high is None else Fraction(Decimal(repr(high)))
        self.above, self.below = above, below

    def first(self) -> int | None:
        """The lowest integer within."""
        if self.low is None:
            return None
        return floor(self.low) + 1 if self.above else ceil(self.low)

    def last(self) -> int | None:
        """The highest integer within."""
        if self.high is None:
            return None
        return ceil(self.high) - 1 if self.below else floor(self.high)


def integer(bounds: NumberBounds) -> Node:
    """The integers within bounds."""
    first, last = bounds.first(), bounds.last()
    if first is None and last is None:
        return INTEGER
    if first is not None and last is not None and first > last:
        return NEVER
    parts: list[Node] = []
    if first is None or first < 0:
        natural = _natural(1 if last is None else max(1, -last), None if first is None else -first)
        parts.append(NEVER if natural == NEVER else seq(Lit("-"), natural))
    if last is None or last >= 0:
        parts.append(_natural(max(0, first or 0), last))
    return alt(*parts)


def _natural(low: int, high: int | None) -> Node:
    """Whole numbers from `low` (0 or more) without a sign."""
    if high is not None and low > high:
        return NEVER
    parts = []
    most = len(str(high)) if high is not None else max(_DIGITS, len(str(low)) + 1)
    for digits in range(len(str(low)), most + 1):
        least, top = 10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1
        parts.append(same_length(str(max(low, least)), str(top if high is None else min(high, top))))
    return alt(*parts)


def same_length(low: str, high: str) -> Node:
    """Texts of digits as long as both, from `low` to `high`."""
    if not low:
        return EMPTY
    rest = len(low) - 1
    if low == "0" * len(low) and high == "9" * len(low):
        return Rep(DIGIT, len(low), len(low))
    first, last = int(low[0]), int(high[0])
    if first == last:
        return seq(Lit(low[0]), same_length(low[1:], high[1:]))
    parts = []
    if low[1:].strip("0"):
        parts.append(seq(Lit(low[0]), same_length(low[1:], "9" * rest)))
        first += 1
    at_top = None
    if high[1:].strip("9"):
        at_top = seq(Lit(high[0]), same_length("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        head = chars((48 + first, 48 + last))
        parts.append(seq(head, Rep(DIGIT, rest, rest)) if rest else head)
    return alt(*parts, *([at_top] if at_top else []))


def number(bounds: NumberBounds) -> Node:
    """The numbers within bounds, without exponents."""
    low, high = bounds.low, bounds.high
    if low is None and high is None:
        return NUMBER
    if low is not None and high is not None and (low > high or (low == high and (bounds.above or bounds.below))):
        return NEVER
    parts = []
    if high is None or high > 0 or (high == 0 and not bounds.below):
        positive_low = low is not None and low >= 0
        parts.append(
            _positive(
                low if positive_low and low is not None else Fraction(0),
                high,
                bounds.above and positive_low,
                bounds.below,
            )
        )
    if low is None or low < 0:
        top = -high if high is not None and high < 0 else Fraction(0)
        strict = bounds.below if high is not None and high < 0 else True
        parts.append(seq(Lit("-"), _positive(top, None if low is None else -low, strict, bounds.above)))
    return alt(*(p for p in parts if p != NEVER))


def _positive(low: Fraction, high: Fraction | None, above: bool, below: bool) -> Node:
    """Decimal numbers from `low` (0 or more) without a sign."""
    first = floor(low)
    if high is not None and floor(high) == first:
        return _with_fraction(first, low - first, high - first, above, below)
    parts = [_with_fraction(first, low - first, Fraction(1), above, True)]
    last = None if high is None else floor(high)
    between = _natural(first + 1, None if last is None else last - 1)
    if between != NEVER:
        parts.append(seq(between, optional(seq(Lit("."), Rep(DIGIT, 1, _FRACTION)))))
    if high is not None and last is not None:
        parts.append(_with_fraction(last, Fraction(0), high - last, False, below))
    return alt(*(p for p in parts if p != NEVER))


def _with_fraction(whole: int, low: Fraction, high: Fraction, above: bool, below: bool) -> Node:
    """`whole` with a part behind the point from `low` to `high`, both from 0 to 1."""
    parts: list[Node] = []
    if low == 0 and not above and not (high == 0 and below):
        parts.append(Lit(str(whole)))
    places = max(_places(low), _places(high if high < 1 else Fraction(0)))
    for digits in range(1, places + 3):
        unit = 10**digits
        least = floor(low * unit) + 1 if above else ceil(low * unit)
        most = ceil(high * unit) - 1 if below else floor(high * unit)
        most = min(most, unit - 1)
        if least <= most:
            parts.append(seq(Lit(f"{whole}."), same_length(str(least).zfill(digits), str(most).zfill(digits))))
    return alt(*parts) if parts else NEVER


def _places(value: Fraction) -> int:
    """Digits behind the point of a decimal fraction."""
    places = 0
    while value.denominator != 1 and places < 20:
        value *= 10
        places += 1
    return places


def multiples(of: float, bounds: NumberBounds, *, integers: bool) -> list[float] | None:
    """All multiples within bounds, as JSON numbers; None for more than are written out, or without both bounds.

    A multiple that floating point does not divide evenly is left out, because validators would refuse it.
    """
    if bounds.low is None or bounds.high is None:
        return None
    step = Fraction(Decimal(repr(of)))
    first = floor(bounds.low / step) + 1 if bounds.above else ceil(bounds.low / step)
    last = ceil(bounds.high / step) - 1 if bounds.below else floor(bounds.high / step)
    if last - first >= MOST_MULTIPLES:
        return None
    found: list[float] = []
    for count in range(first, last + 1):
        exact = step * count
        value = int(exact) if exact.denominator == 1 else float(exact)
        if isinstance(value, float) and (integers or not (value / of).is_integer()):
            continue
        found.append(value)
    return found


def endless_multiples(of: float) -> Node | None:
    """The integers that are multiples of 1, 2, 5 or a power of ten, without bounds; None for any other number."""
    if of != int(of) or of < 1:
        return None
    step = int(of)
    zeros = len(str(step)) - 1
    sign, head = optional(Lit("-")), seq(_NONZERO, Rep(DIGIT, 0, 11))
    if step == 1:
        return INTEGER
    if step == 10**zeros:
        return alt(Lit("0"), seq(sign, head, Lit("0" * zeros)))
    if step in (2, 5):
        last = chars(*((ord(c), ord(c)) for c in ("02468" if step == 2 else "05")))
        single = chars(*((ord(c), ord(c)) for c in ("2468" if step == 2 else "5")))
        return alt(Lit("0"), seq(sign, alt(single, seq(head, last))))
    return None


def literal(value: float) -> Node:
    """One number as JSON writes it."""
    return Lit(json.dumps(value))
