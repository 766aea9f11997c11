"""Base class of a deployment's sections, the types of their keys, and faults that a validator finds.

Knows no key of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from qwen_triton_openai.settings import PathCheck

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
CountOrNone = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""Numbers that a model configuration has as 32 bits; 0 where it stands for none."""
Port = Annotated[int, Field(ge=1, le=65535)]
Fraction = Annotated[float, Field(gt=0, le=1)]
FilePath = Annotated[Path, Field(strict=False), PathCheck]
"""A path as YAML has it: a string."""


class Section(BaseModel):
    """A part of the deployment: unknown keys are refused, values keep their YAML types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def fault_at(path: tuple[str, ...], reason: str, value: Any) -> ValidationError:
    """What a validator of a whole section raises for one of its keys: pydantic puts the section's path before `path`."""
    kind = PydanticCustomError("section", "{reason}", {"reason": reason})
    return ValidationError.from_exception_data("section", [InitErrorDetails(type=kind, loc=path, input=value)])
