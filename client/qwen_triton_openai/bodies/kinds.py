"""Types of parameters that several tables share: lists and objects whose check ends at the first fault.

To collect a million faults of one body takes seconds, in which nobody else is answered.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


def list_of(kind: Any) -> Any:
    """A list of values of one type."""
    return Annotated[list[kind], Field(fail_fast=True)]


def object_of(kind: Any) -> Any:
    """An object whose values are of one type."""
    one = TypeAdapter(kind, config=ConfigDict(strict=True))

    def check(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        for key, value in given.items() if isinstance(given, dict) else ():
            try:
                one.validate_python(value)
            except ValidationError:
                return validate({key: value})  # raises, with the key
        return validate(given)

    return Annotated[dict[str, kind], WrapValidator(check)]


Strings = list_of(str)
TokenIds = list_of(Annotated[int, Field(ge=0, lt=2**31)])
Objects = list_of(dict[str, Any])
