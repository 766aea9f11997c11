"""The form of an answer as tensors: its kind and its text, by stock's names and kinds, and by those of other servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..types import Form, FormKind
from .contract import GUIDED_DECODING_BEST_EFFORT, GUIDED_DECODING_GUIDE, GUIDED_DECODING_GUIDE_TYPE
from .rows import Row

GUIDE_TYPES: Mapping[str, FormKind] = {
    "json": "json_object",
    "json_schema": "json_schema",
    "regex": "regex",
    "choice": "choice",
    "ebnf_grammar": "grammar",
    "structural_tag": "structural_tag",
}
"""`guided_decoding_guide_type` → a form's kind. All but `choice` are stock's."""
_ALIASES: Mapping[str, FormKind] = {"json_object": "json_object", "grammar": "grammar"}
_TYPES = {kind: name for name, kind in GUIDE_TYPES.items()}
EBNF = _TYPES["grammar"]
"""The kind by which a compiled grammar goes to an engine model."""


def decode_form(row: Row) -> Form | None:
    """The form of a row's answer, None for none. Raises InvalidRequest for one input without the other, or no such kind."""
    name, guide = row.text(GUIDED_DECODING_GUIDE_TYPE), row.text(GUIDED_DECODING_GUIDE)
    if not name:
        if guide:
            raise InvalidRequest(f"is missing; it is one of {', '.join(GUIDE_TYPES)}", GUIDED_DECODING_GUIDE_TYPE)
        return None
    kind = GUIDE_TYPES.get(name) or _ALIASES.get(name)
    if kind is None:
        raise InvalidRequest(f"expected one of {', '.join(GUIDE_TYPES)}, got {name[:100]!r}", GUIDED_DECODING_GUIDE_TYPE)
    if kind == "json_object":
        if guide:
            raise InvalidRequest("json takes none; json_schema takes a schema", GUIDED_DECODING_GUIDE)
        guide = ""
    elif not guide:
        raise InvalidRequest(f"is missing or empty; {name} needs it", GUIDED_DECODING_GUIDE)
    return Form(kind, guide, row.flag(GUIDED_DECODING_BEST_EFFORT) or False)


def encode_form(form: Form | None) -> dict[str, Any]:
    """The inverse of decode_form: values by tensor."""
    if form is None:
        return {}
    return {
        GUIDED_DECODING_GUIDE_TYPE: _TYPES[form.kind],
        GUIDED_DECODING_GUIDE: form.spec or None,
        GUIDED_DECODING_BEST_EFFORT: form.best_effort or None,
    }
