"""Arguments of a library beside its options: what `extra` may not set, and what is passed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from qwen_triton.engines.gpu.extra import check_adapter_names, check_extra, library_arguments
from qwen_triton.engines.option import OptionError


@dataclass
class Options:
    python: str | None = None
    size: int = 1
    kind: str = "auto"
    extra: dict[str, Any] = field(default_factory=dict)


def test_what_differs_from_the_defaults_and_extra_are_passed_on() -> None:
    options = Options("/python", 2, "auto", {"seed": 3})
    assert library_arguments(options, {"python", "extra"}) == {"size": 2, "seed": 3}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"size": 2}, "engine.extra.size: is an option itself; give it without extra, got 2"),
        ({"tokenizer": "x"}, "engine.extra.tokenizer: cannot be set: it is ours, got 'x'"),
    ],
)
def test_what_extra_may_not_set(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as refused:
        check_extra(Options(extra=extra), {"tokenizer": "it is ours"})
    assert str(refused.value) == words


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a" * 129])
def test_names_of_adapters(name: str) -> None:
    check_adapter_names(["a", "team/poet", "a" * 128])
    with pytest.raises(OptionError, match=r"^engine.lora: a name must be text of 1 to 128 printable characters"):
        check_adapter_names(["a", name])
