"""An engine's options: fields of a frozen dataclass that carry bounds and a description.

    @dataclass(frozen=True, slots=True)
    class ReplayOptions:
        slots: int = option(1024, "sequences generated at once; others wait", at_least=1)

        def __post_init__(self) -> None:
            check_options(self)

An engine writes them once, in `engines/<kind>/options.py`. Its process reads them from JSON (`read_options`), and the
deployment's schema makes the keys of `engine:` from them (`options_of`). Knows no engine and no pydantic.

Types: bool, int, float, str, Path, Literal, tuple, dict with str keys, and unions of these with None.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import ConfigurationError

REQUIRED: Any = object()
"""In place of a default: the option must be given."""
_Options = TypeVar("_Options")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an engine; `default` may be REQUIRED. `phrase`: what a value must be, for messages.

    `in_deployment` False: no key of `engine:`; the deployment gives it otherwise (`model`), or only a test sets it.
    """

    doc: str
    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    phrase: str = ""
    in_deployment: bool = True
    name: str = ""
    type: Any = None
    default: Any = REQUIRED


class OptionError(ConfigurationError):
    """A value that an option does not take: `name` of the option, `reason` and remedy, and the `value`."""

    def __init__(self, name: str, reason: str, value: Any) -> None:
        super().__init__(f"engine.{name}: {reason}, got {value!r}")
        self.name, self.reason, self.value = name, reason, value


def option(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    more_than: float | None = None,
    at_most: float | None = None,
    phrase: str = "",
    in_deployment: bool = True,
) -> Any:
    """A dataclass field with a description and inclusive (`at_least`, `at_most`) or exclusive (`more_than`) bounds.

    `default` may be REQUIRED; a dict is copied for each instance. `phrase` replaces the description of a
    right value that is made from type and bounds («a whole number of at least 1»).
    """
    metadata = {"option": Option(doc, at_least, more_than, at_most, phrase, in_deployment)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(metadata=metadata) if default is REQUIRED else field(default=default, metadata=metadata)


def options_of(options: type) -> Mapping[str, Option]:
    """{name: option} of an options class, in the order in which it declares them."""
    hints = get_type_hints(options)
    found = {}
    for declared in fields(options):
        factory = declared.default_factory
        default = declared.default if factory is MISSING else factory()
        default = REQUIRED if default is MISSING else default
        rule: Option = declared.metadata["option"]
        found[declared.name] = replace(rule, name=declared.name, type=hints[declared.name], default=default)
    return found


def check_options(options: Any) -> None:
    """Raises OptionError for the first value of an options object that has another type or is out of bounds."""
    for name, rule in options_of(type(options)).items():
        value = getattr(options, name)
        if not _fits(value, rule.type) or not _is_within(value, rule):
            raise OptionError(name, f"must be {rule.phrase or _phrase(rule)}", value)


def read_options(options: type[_Options], given: Mapping[str, Any]) -> _Options:
    """An options object from JSON: lists become tuples, text becomes a path, where the field is one.

    Raises ConfigurationError for an unknown option (with the known ones), for a missing one and for a wrong value.
    """
    known = options_of(options)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigurationError(f"engine.{unknown[0]}: unknown option; known are {', '.join(sorted(known))}")
    missing = [name for name, rule in known.items() if rule.default is REQUIRED and name not in given]
    if missing:
        raise ConfigurationError(f"engine.{missing[0]}: is missing; give it a value")
    return options(**{name: _from_json(value, known[name].type) for name, value in given.items()})


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union type; any other type alone."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has a type. A bool is no number, and a whole number is a float as well, as in YAML."""
    kinds = alternatives(kind)
    if len(kinds) > 1:
        return any(_fits(value, each) for each in kinds)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and _items_fit(value, arguments)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(k, arguments[0]) and _fits(v, arguments[1]) for k, v in value.items()
        )
    if kind is float:
        return type(value) in (int, float)
    return kind is Any or (isinstance(value, Path) if kind is Path else type(value) is kind)


def _items_fit(items: tuple[Any, ...], kinds: tuple[Any, ...]) -> bool:
    if kinds[-1:] == (...,):
        return all(_fits(item, kinds[0]) for item in items)
    return len(items) == len(kinds) and all(map(_fits, items, kinds))


def _is_within(value: Any, rule: Option) -> bool:
    """Bounds hold for numbers; NaN is within none."""
    if type(value) not in (int, float):
        return True
    return (
        (rule.at_least is None or value >= rule.at_least)
        and (rule.more_than is None or value > rule.more_than)
        and (rule.at_most is None or value <= rule.at_most)
    )


def _phrase(rule: Option) -> str:
    kind = next(k for k in alternatives(rule.type) if k is not types.NoneType)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    nouns = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    bounds = (
        ("of at least", rule.at_least), ("larger than", rule.more_than), ("of at most", rule.at_most)
    )  # fmt: skip
    limits = [f"{words} {bound:g}" for words, bound in bounds if bound is not None]
    return " ".join([nouns.get(kind, "keys and values"), " and ".join(limits)]).rstrip()


def _from_json(value: Any, kind: Any) -> Any:
    kinds = alternatives(kind)
    if isinstance(value, dict) and any(get_origin(each) is dict and Path in get_args(each) for each in kinds):
        return {key: Path(path) if isinstance(path, str) else path for key, path in value.items()}
    if isinstance(value, list) and any(get_origin(each) is tuple for each in kinds):
        return _frozen(value)
    return Path(value) if isinstance(value, str) and Path in kinds and str not in kinds else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
