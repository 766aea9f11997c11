"""Options of an engine: what a field takes, what is said of anything else, and how they come from JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from qwen_triton.engines.option import REQUIRED, OptionError, check_options, option, options_of, read_options
from qwen_triton.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Sample:
    """One option of each type."""

    model: str = option(REQUIRED, "the model")
    count: int = option(1, "a count", at_least=1)
    share: float | None = option(None, "a share", more_than=0, at_most=1)
    mode: Literal["fast", "slow"] = option("fast", "a mode")
    on: bool = option(False, "a switch")
    ids: tuple[int, ...] = option((), "ids", phrase="a list of token ids")
    pair: tuple[int, int] = option((0, 1), "two ids", phrase="two token ids")
    folder: Path | None = option(None, "a folder")
    length: int | str = option("auto", "a length", phrase="a whole number or auto")
    extra: dict[str, Any] = option({}, "anything else that the engine takes")

    def __post_init__(self) -> None:
        check_options(self)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"model": 3}, "model: must be text, got 3"),
        ({"count": 0}, "count: must be a whole number of at least 1, got 0"),
        ({"count": True}, "count: must be a whole number of at least 1, got True"),
        ({"count": 1.0}, "count: must be a whole number of at least 1, got 1.0"),
        ({"share": 0}, "share: must be a number larger than 0 and of at most 1, got 0"),
        ({"share": 1.5}, "share: must be a number larger than 0 and of at most 1, got 1.5"),
        ({"share": float("nan")}, "share: must be a number larger than 0 and of at most 1, got nan"),
        ({"share": True}, "share: must be a number larger than 0 and of at most 1, got True"),
        ({"mode": "slower"}, "mode: must be one of fast, slow, got 'slower'"),
        ({"on": 1}, "on: must be true or false, got 1"),
        ({"ids": [1, "2"]}, "ids: must be a list of token ids, got (1, '2')"),
        ({"pair": [1]}, "pair: must be two token ids, got (1,)"),
        ({"folder": 1}, "folder: must be a path, got 1"),
        ({"length": 1.5}, "length: must be a whole number or auto, got 1.5"),
        ({"extra": [1]}, "extra: must be keys and values, got [1]"),
        ({"extra": {1: 2}}, "extra: must be keys and values, got {1: 2}"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given: dict[str, Any], reason: str) -> None:
    """The path of the key, what a value must be, and what it was."""
    with pytest.raises(OptionError) as caught:
        read_options(Sample, {"model": "m"} | given)
    assert str(caught.value) == f"engine.{reason}"
    assert caught.value.name == reason.partition(":")[0]


def test_options_come_from_json() -> None:
    """Lists become tuples and text becomes a path where the field is one; what is in `extra` stays as it is."""
    given = {"model": "m", "ids": [1, 2], "pair": [3, 4], "folder": "/e", "share": 1, "length": 7, "extra": {"a": [1]}}
    sample = read_options(Sample, given)
    assert (sample.ids, sample.pair, sample.folder, sample.share) == ((1, 2), (3, 4), Path("/e"), 1)
    assert (sample.length, sample.extra) == (7, {"a": [1]})


def test_unknown_and_missing_options_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^engine\.modle: unknown option; known are count, extra, "):
        read_options(Sample, {"modle": "m"})
    with pytest.raises(ConfigurationError, match=r"^engine\.model: is missing; give it a value$"):
        read_options(Sample, {})


def test_an_instance_s_default_is_its_own() -> None:
    Sample("m").extra["a"] = 1
    assert Sample("m").extra == {}


def test_options_tell_their_type_default_and_description() -> None:
    described = options_of(Sample)
    assert list(described)[:2] == ["model", "count"]
    assert described["model"].default is REQUIRED
    assert (described["extra"].default, described["count"].at_least, described["on"].doc) == ({}, 1, "a switch")
