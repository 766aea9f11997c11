"""Finds the format of tool calls: by name, by the text of a chat template, or, where neither is known, by the answer.

A template teaches the model one format. `format_of_template` finds it in the texts that the template writes; the model
that renders it tells its clients the format's name. Clients of a model that tells nothing read `UNTOLD`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from .hermes import HERMES
from .qwen3_coder import FUNCTION, QWEN3_CODER
from .tool_format import OPEN, ToolFormat
from .untold import UNTOLD

ToolFormatName = Literal["hermes", "qwen3_coder"]
ToolFormatSetting = Literal["auto", "hermes", "qwen3_coder"]
TOOL_FORMATS: Mapping[str, ToolFormat] = {each.name: each for each in (HERMES, QWEN3_CODER)}
SETTINGS: tuple[ToolFormatSetting, ...] = get_args(ToolFormatSetting)
_NAME_KEY = re.compile(r"""["']name["']""")


def format_of_template(texts: Iterable[str]) -> ToolFormat | None:
    """The format of a template that writes `texts`; None if it teaches neither."""
    text = "".join(texts)
    if FUNCTION in text:
        return QWEN3_CODER
    return HERMES if OPEN in text and _NAME_KEY.search(text) else None


def format_named(name: str) -> ToolFormat:
    """The format that a model tells by its name, "" if it tells none. Of an unknown name, `UNTOLD` as well."""
    return TOOL_FORMATS.get(name, UNTOLD)
