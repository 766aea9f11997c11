"""The form that an answer must have, as OpenAI's and vLLM's bodies ask for it. Knows no HTTP and no engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from qwen_triton.tensors.contract import GUIDED_DECODING_GUIDE, GUIDED_DECODING_GUIDE_TYPE
from qwen_triton.types import Form

from ..errors import ApiError, bad_request

_Read = Callable[[Any, str], Form]

FORM_PARAMETERS = (
    "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
)  # fmt: skip
"""The parameters by which a form is asked for; a body has at most one."""
_OPTIONS = ("disable_fallback", "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")
"""Options of vLLM's structured_outputs beside the form. Blanks are bounded here, and nothing falls back."""


def with_form_name(names: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """`names` (the model's name of a parameter → this endpoint's) with the parameter by which a body asks for a form."""
    asked = next((name for name in FORM_PARAMETERS if name in given), FORM_PARAMETERS[0])
    return {
        **names,
        GUIDED_DECODING_GUIDE: names.get(asked, asked),
        GUIDED_DECODING_GUIDE_TYPE: names.get(asked, asked),
    }


def answer_form(given: Mapping[str, Any]) -> Form | None:
    """The form of the answer, None for free text. Raises ApiError for a malformed one, and for two of them."""
    found = [(name, form) for name in FORM_PARAMETERS if name in given and (form := _READERS[name](given[name], name))]
    if len(found) > 1:
        first, second = found[0][0], found[1][0]
        raise bad_request(f"{second}: {first} asks for a form too; give one of them", second)
    return found[0][1] if found else None


def _response_format(value: Any, name: str) -> Form | None:
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Form("json_object")
    if kind == "structural_tag":
        return Form("structural_tag", _dump(value))
    if kind != "json_schema":
        raise _fault(
            f"{name}.type", f"expected text, json_object, json_schema or structural_tag, got {str(kind)[:100]!r}"
        )
    return _json_schema(value.get("json_schema"), f"{name}.json_schema")


def _json_schema(given: Any, place: str) -> Form:
    """OpenAI's wrapper of a schema, and Anthropic's. `strict` changes nothing: a schema is always kept, or refused."""
    if not isinstance(given, dict):
        raise _fault(place, "expected an object with name and schema")
    kinds = {"name": str, "description": str, "strict": bool, "schema": (dict, bool), "type": str}
    for key, value in given.items():
        if key not in kinds:
            raise _fault(f"{place}.{key[:100]}", f"unknown; there are {', '.join(kinds)}")
        if value is not None and not isinstance(value, kinds[key]):  # type: ignore[arg-type]  # a type, or a tuple of them
            raise _fault(f"{place}.{key}", f"is of the wrong type: {type(value).__name__}")
    if given.get("schema") is None:
        return Form("json_schema", "{}") if not given.get("strict") else _missing(f"{place}.schema")
    return Form("json_schema", _dump(given["schema"]))


def _missing(place: str) -> Form:
    raise _fault(place, "is missing")


def _structured_outputs(value: Any, name: str) -> Form | None:
    """vLLM's object of one kind. Raises ApiError for none or several of them."""
    given = {key: v for key, v in value.items() if v is not None and v is not False}
    unknown = [key for key in given if key not in _STRUCTURED and key not in _OPTIONS]
    if unknown:
        raise _fault(f"{name}.{unknown[0][:100]}", f"unknown; there are {', '.join(_STRUCTURED)}")
    if "whitespace_pattern" in given:
        raise _fault(f"{name}.whitespace_pattern", "blanks between values are bounded here in one way; leave it out")
    kinds = [key for key in given if key in _STRUCTURED]
    if len(kinds) != 1:
        raise _fault(name, f"expected one of {', '.join(_STRUCTURED)}, got {len(kinds)} of them")
    return _STRUCTURED[kinds[0]](given[kinds[0]], f"{name}.{kinds[0]}")


def _schema(value: Any, place: str) -> Form:
    """A schema, or its JSON as text."""
    if isinstance(value, str):
        return Form("json_schema", value)
    if not isinstance(value, dict | bool):
        raise _fault(place, "expected a schema, as an object or as text")
    return Form("json_schema", _dump(value))


def _text(kind: Any) -> _Read:
    def read(value: Any, place: str) -> Form:
        if not isinstance(value, str) or not value:
            raise _fault(place, "expected a text, not empty")
        return Form(kind, value)

    return read


def _choice(value: Any, place: str) -> Form:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
        raise _fault(place, "expected a list of texts, none of them empty")
    return Form("choice", _dump(value))


def _tag(value: Any, place: str) -> Form:
    if isinstance(value, str) and value:
        return Form("structural_tag", value)
    if not isinstance(value, dict):
        raise _fault(place, "expected a structural tag, as an object or as text")
    return Form("structural_tag", _dump(value))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fault(place: str, text: str) -> ApiError:
    return bad_request(f"{place}: {text}", place)


_STRUCTURED: Mapping[str, _Read] = {
    "json": _schema,
    "json_object": lambda _value, _place: Form("json_object"),
    "regex": _text("regex"),
    "choice": _choice,
    "grammar": _text("grammar"),
    "structural_tag": _tag,
}
_READERS: Mapping[str, Callable[[Any, str], Form | None]] = {
    "response_format": _response_format,
    "structured_outputs": _structured_outputs,
    "guided_json": _schema,
    "guided_regex": _text("regex"),
    "guided_choice": _choice,
    "guided_grammar": _text("grammar"),
}
