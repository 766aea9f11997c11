"""Values that no field expects, as JSON text: of every kind, deep, huge, half a character, and JSON within a string."""

from __future__ import annotations

import json

_DEEP_LIST = "[" * 400 + "]" * 400
_DEEP_OBJECT = '{"a":' * 400 + "1" + "}" * 400
_HUGE = str(2**70)

VALUES = (
    *("null", "true", "-1", "0", "1.5", "2147483648", "-2147483649", "18446744073709551616", _HUGE, f"-{_HUGE}"),
    *("1e400", "-1e400", "1e39", "NaN", "Infinity", "1" * 5000),
    *('""', '"\\ud800"', '"\\u0000"', '"a\\u0000b"', '"' + "\\u0301" * 1000 + '"'),
    *("[]", "[[]]", "[null]", "[{}]", '[""]', '["\\ud800"]', '["a", 1]', "[1e400]", f"[{_HUGE}]", "[-1]"),
    *("{}", '{"a": null}', '{"-1": 1}', '{"a b: c": 1}', '{"try again": 1}', '{"1": 1e400}', '{"\\ud800": 1}'),
    *(_DEEP_LIST, _DEEP_OBJECT),
)
WITHIN_TEXT = tuple(
    json.dumps(text)
    for text in (
        *("null", "[]", "{}", "[null]", "[1e400]", "[NaN]", '"\\ud800"', '{"\\ud800": 1}', '{"1": NaN}', f"[{_HUGE}]"),
        *('{"a": ' + "1" * 5000 + "}", '{"a": 1, "a": 2}', '{"a b: c": 1}', _DEEP_LIST, _DEEP_OBJECT),
        *('[{"role": "user", "content": 1e400}]', '[{"role": "user", "content": "\\ud800"}]'),
    )
)
"""For fields that hold JSON as a string."""


def body(fields: dict[str, object], name: str, value: str) -> bytes:
    """A JSON object with these fields and the JSON text `value` as `name`."""
    items = [f"{json.dumps(key)}: {json.dumps(given)}" for key, given in fields.items() if key != name]
    return f"{{{', '.join([*items, f'{json.dumps(name)}: {value}'])}}}".encode()
