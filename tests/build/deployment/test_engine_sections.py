"""The section `engine:` takes exactly what the engine takes, with the engine's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qwen_triton.engines.kinds import ENGINES
from qwen_triton.engines.option import REQUIRED, check_options, option, options_of, read_options
from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment import faults
from qwen_triton_build.deployment.engine_sections import PROCESS_ENGINES, engine_section, with_engine_paths
from qwen_triton_build.deployment.schema import load_deployment

FIELDS = [
    (kind, name)
    for kind, engine in ENGINES.items()
    for name, rule in options_of(engine.options).items()
    if rule.in_deployment
]
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 1 << 20, 1 << 21, -0.5, 0.0, 0.5, 1.0, 1e9, float("nan"), "", "1", "x",
    "exact", "bf16", "int8-fast", "echo", "random", "scripts", "auto", "fcfs", "balanced", "play",
    [], [1], [1, 2], [2, 1], [1, 2, 3], [-1, 2], [1.5, 2],
    ["1", 2], [[]], [[1]], [[1, 2], [3]], [["a"]], [[True]], {}, {"a": 1},
]  # fmt: skip


def engine_takes(kind: str, given: dict[str, Any]) -> bool:
    options = ENGINES[kind].options
    try:
        read_options(options, ({"model": "m"} if "model" in options_of(options) else {}) | given)
    except ConfigurationError:
        return False
    return True


def deployment_takes(kind: str, given: dict[str, Any]) -> bool:
    try:
        PROCESS_ENGINES[kind].model_validate({"kind": kind} | given)
    except ValidationError:
        return False
    return True


def test_every_kind_of_engine_has_a_section() -> None:
    assert PROCESS_ENGINES.keys() == ENGINES.keys()


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_both_sides_take_the_same_values(kind: str, name: str) -> None:
    """Types, bounds and choices of every option."""
    differ = [v for v in VALUES if engine_takes(kind, {name: v}) != deployment_takes(kind, {name: v})]
    assert differ == []
    assert any(deployment_takes(kind, {name: v}) for v in VALUES)
    assert not all(deployment_takes(kind, {name: v}) for v in VALUES)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_both_sides_have_the_same_default_and_description(kind: str, name: str) -> None:
    rule, key = options_of(ENGINES[kind].options)[name], PROCESS_ENGINES[kind].model_fields[name]
    default = list(rule.default) if isinstance(rule.default, tuple) else rule.default
    assert (key.default, key.description) == (default, rule.doc)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_section_has_the_options_and_its_kind(kind: str) -> None:
    """Left out are what the deployment gives otherwise: the model, its hub, and a folder for tests."""
    options, keys = set(options_of(ENGINES[kind].options)), set(PROCESS_ENGINES[kind].model_fields)
    assert keys - options == {"kind"}
    assert options - keys <= {"model", "hub", "conversion_cache"}


@pytest.mark.parametrize("kind", ENGINES)
def test_what_a_deployment_leaves_out_arrives_as_the_engine_s_default(kind: str) -> None:
    options = ENGINES[kind].options
    sent = PROCESS_ENGINES[kind].model_validate({"kind": kind}).engine_options(Path("m"))
    assert sent.pop("engine") == kind
    model = {"model": "m"} if "model" in options_of(options) else {}
    assert read_options(options, sent) == options(**model)


def test_half_a_gibibyte_of_cache_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text("model: m\nengine: {kind: openvino, cache_gib: 0.5}\n")
    assert load_deployment(file, {}).engine.model_dump()["cache_gib"] == 0.5


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        (
            "{kind: replay, mode: scripts}",
            "engine.scripts: mode «scripts» needs at least one list of token ids, got ()",
        ),
        (
            "{kind: replay, random_ids: [3, 2]}",
            "engine.random_ids: the second must be larger than the first, got (3, 2)",
        ),
        ("{kind: openvino, cache_gib: 0}", "engine.cache_gib: expected more than 0, got 0"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_with_its_path(engine: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(f"model: m\nengine: {engine}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_deployment(file, {})
    assert str(caught.value) == f"{file}: {line}"


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """Options of the shapes that the kinds above do not have."""

    model: str = option(REQUIRED, "the model", in_deployment=False)
    engine_dir: Path = option(REQUIRED, "a folder")
    length: int | str = option("auto", "a length", at_least=1)
    extra: dict[str, Any] = option({}, "anything else")

    def __post_init__(self) -> None:
        check_options(self)


SampleSection = engine_section("sample", SampleOptions)


def test_paths_are_relative_to_the_deployment_s_file_and_arrive_as_paths() -> None:
    section = SampleSection.model_validate(
        {"kind": "sample", "engine_dir": "../e", "extra": {"dtype": "auto", "n": [1]}}
    )
    sent = with_engine_paths(section, Path("/deployments")).engine_options(Path("/m"))
    assert sent == {
        "engine": "sample", "model": "/m", "engine_dir": "/e", "length": "auto", "extra": {"dtype": "auto", "n": [1]}
    }  # fmt: skip
    del sent["engine"]
    assert read_options(SampleOptions, sent).engine_dir == Path("/e")


def sample_faults(given: dict[str, Any]) -> Iterator[str]:
    data = {"kind": "sample"} | given
    with pytest.raises(ValidationError) as caught:
        SampleSection.model_validate(data)
    yield from faults.explain(caught.value, SampleSection, data)


def test_faults_of_such_options_name_their_key() -> None:
    """pydantic adds the member of a union to its location; a person reads the key."""
    assert list(sample_faults({"length": 0, "extra": 3})) == [
        "engine_dir: is missing; give it a value",
        "length: expected at least 1, got 0",
        "length: expected a valid string, got 0",
        "extra: expected a valid dictionary, got 3",
    ]


def test_the_folders_of_adapters_are_the_deployment_s(tmp_path: Path) -> None:
    """Relative ones start where the file is; a name that a model has is refused with its path."""
    file = tmp_path / "deployment.yaml"
    text = "model: Qwen/Qwen3-8B\nserved_model_name: qwen3\nengine: {kind: vllm, lora: {%s: a, poet: /b}}\n"
    file.write_text(text % "pirate")
    engine = load_deployment(file, environment={}).engine
    options = engine.engine_options(Path("/m"))  # type: ignore[union-attr]  # the kind is vllm
    assert options["lora"] == {"pirate": str(tmp_path / "a"), "poet": "/b"}
    file.write_text(text % "qwen3")
    with pytest.raises(ConfigurationError, match=r"engine.lora: is the name of a served model"):
        load_deployment(file, environment={})
