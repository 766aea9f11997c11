"""Options of a GPU engine under its library's own names, and `extra` for the arguments of the library that have none.

What is left out is not passed on, so that the library's defaults hold. Knows no library.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

from ..option import OptionError

LONGEST_NAME = 128
"""Characters of an adapter's name."""


def check_extra(options: Any, fixed: Mapping[str, str]) -> None:
    """Raises OptionError for an argument in `options.extra` that has an option of its own, or is ours to set.

    `fixed`: {argument: why it cannot be set}.
    """
    extra: Mapping[str, Any] = options.extra
    for name, value in extra.items():
        if name in fixed:
            raise OptionError(f"extra.{name}", f"cannot be set: {fixed[name]}", value)
        if name in {field.name for field in fields(options)}:
            raise OptionError(f"extra.{name}", "is an option itself; give it without extra", value)


def check_adapter_names(names: Iterable[str]) -> None:
    """Raises OptionError for a name that could not stand in a request, a log or a metric."""
    for name in names:
        if not name.strip() or not name.isprintable() or name != name.strip() or len(name) > LONGEST_NAME:
            reason = f"a name must be text of 1 to {LONGEST_NAME} printable characters without a space at its ends"
            raise OptionError("lora", reason, name)


def library_arguments(options: Any, ours: Collection[str]) -> dict[str, Any]:
    """Keyword arguments of the library: options that differ from their defaults, but for `ours`, and `extra`."""
    given = {}
    for declared in fields(options):
        value = getattr(options, declared.name)
        if declared.name not in ours and value is not None and value != declared.default:
            given[declared.name] = value
    return {**given, **options.extra}
