"""Strings of a JSON schema: length, pattern and format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..faults import fault
from ..grammar import (
    EMPTY,
    NEVER,
    Chars,
    Lit,
    Node,
    Ref,
    Rep,
    alt,
    common,
    complement,
    lengths,
    of_text,
    seq,
)
from ..regex import ANY, search_match, whole_match
from .json_text import CHARACTER, PLAIN, string
from .keywords import PartCompiler

_YEAR = "[1-9][0-9]{3}"
_LEAP = "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26]|1[26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
_WORD = "[A-Za-z0-9][A-Za-z0-9_+-]{0,15}"
_SHORT = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,14}[A-Za-z0-9])?"
_HOST = f"{_SHORT}(?:\\.{_SHORT})?\\.[A-Za-z]{{2,8}}"
_HEX = "[0-9a-fA-F]"
_PATH = "[A-Za-z0-9._~!$&'()*+,;=:@/-]"
FORMATS: Mapping[str, str] = {
    "date": _DATE,
    "time": _CLOCK + _ZONE,
    "date-time": f"{_DATE}T{_CLOCK}{_ZONE}",
    "duration": "P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y)?(?:[0-9]{1,4}M)?[0-9]{1,4}D(?:T[0-9]{1,4}H)?|T[0-9]{1,4}[HMS]"
    "|T[0-9]{1,4}H[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}Y(?:[0-9]{1,4}M)?|[0-9]{1,4}M)",
    "email": f"{_WORD}(?:\\.{_WORD})?@{_HOST}",
    "hostname": f"{_LABEL}(?:\\.{_LABEL}){{0,3}}",
    "ipv4": f"{_BYTE}(?:\\.{_BYTE}){{3}}",
    "ipv6": f"(?:{_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}|::1|::",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "uri": f"https?://{_HOST}(?::[1-9][0-9]{{0,3}})?(?:/{_PATH}{{0,96}})?(?:\\?{_PATH}{{0,32}})?",
}
"""Formats as patterns of the whole text. They are narrower than the standards where those allow what nobody writes."""
FORMAT_RULES: Mapping[str, Node] = {
    f"format_{name}": string(whole_match(pattern, f"format {name}")) for name, pattern in FORMATS.items()
}
"""A rule for each format, so that a grammar has it once however often a schema names it."""
FREE_FORMATS = frozenset(
    {"password", "binary", "path", "file-path", "directory-path", "text", "multi-line", "markdown"}
)
"""Formats that say what a text is for and bound nothing."""


def string_schema(compiler: PartCompiler, schema: Mapping[str, Any], place: str) -> Node:
    """The strings that a schema allows, quotes included. Raises InvalidRequest for what is not kept together."""
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    form = schema.get("format")
    pattern = schema.get("pattern")
    if form in FREE_FORMATS:
        form = None
    if form is not None and form not in FORMATS:
        known = ", ".join(sorted({*FORMATS, *FREE_FORMATS}))
        raise fault(f"{place}/format", f"{form!r} is not kept by any engine; leave it out, or use one of {known}")
    if form is not None and pattern is not None:
        raise fault(f"{place}/pattern", "is not kept together with format; leave one of them out")
    if most is not None and most < least:
        raise fault(f"{place}/maxLength", f"{most} is less than minLength ({least}); no text fits")
    if form is not None and least == 0 and most is None:
        return Ref(f"format_{form}")
    if form is not None:
        return string(_within(whole_match(FORMATS[form], f"{place}/format"), least, most, f"{place}/format"))
    if pattern is not None:
        found = search_match(pattern, f"{place}/pattern", Rep(ANY))
        return string(_within(found, least, most, f"{place}/pattern"))
    if least == 0 and most is None:
        return Ref("string")
    if most is None:
        return seq(Lit('"'), Rep(CHARACTER, least), Lit('"'))
    return seq(Lit('"'), Rep(CHARACTER, least, least) if least else EMPTY, compiler.text(most - least))


def _within(node: Node, least: int, most: int | None, place: str) -> Node:
    """`node` with its lengths in bounds, where that is one repetition or already so. Raises InvalidRequest."""
    if isinstance(node, Rep) and isinstance(node.node, Chars):
        low = max(least, node.least)
        high = node.most if most is None else most if node.most is None else min(most, node.most)
        return NEVER if high is not None and high < low else Rep(node.node, low, high)
    shortest, longest = lengths(node)
    if shortest >= least and (most is None or (longest is not None and longest <= most)):
        return node
    raise fault(
        place,
        "is not kept together with minLength and maxLength; write the length into the pattern, such as ^[a-z]{1,9}$",
    )


def different_from(names: tuple[str, ...]) -> Node:
    """Strings, quotes included, that are none of `names`: keys beside those that a schema declares."""
    return seq(Lit('"'), _beside(tuple(sorted(set(names)))), Lit('"'))


def _beside(names: tuple[str, ...]) -> Node:
    """Texts between quotes that are none of `names`; keys of ASCII escapes are left to the declared names."""
    by_first: dict[str, list[str]] = {}
    for name in names:
        if name:
            by_first.setdefault(name[0], []).append(name[1:])
    taken = of_text("".join(by_first))
    others = common(PLAIN, complement(taken))
    parts: list[Node] = [seq(others, Rep(CHARACTER))] if others.ranges else []
    parts += [seq(Lit(first), _beside(tuple(rest))) for first, rest in by_first.items() if first not in '"\\']
    if "" not in names:
        parts.append(EMPTY)
    return alt(*parts)
