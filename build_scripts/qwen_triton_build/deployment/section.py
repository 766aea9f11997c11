"""What every part of a deployment is: a typed, frozen section that refuses unknown keys; and its number types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Fraction = Annotated[float, Field(gt=0, le=1)]
FilePath = Annotated[Path, Field(strict=False)]
"""A path as YAML has it: a string."""


class Section(BaseModel):
    """A part of the deployment: unknown keys are refused, values keep their YAML types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
