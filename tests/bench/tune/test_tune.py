"""Tuning without a server: the space, the variants' files, what is skipped, which setting is best."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen_triton.errors import ConfigurationError
from qwen_triton_bench.tune.command import add_arguments, run
from qwen_triton_bench.tune.ranking import LatencyLimit, rank, why_not
from qwen_triton_bench.tune.space import Setting, read_space
from qwen_triton_bench.tune.sweep import Outcome, run_variant
from qwen_triton_bench.tune.variant import Variant, write_variants
from qwen_triton_build.deployment.schema import load_deployment
from tests.build.trtllm.run.test_engine_build import Workshop
from tests.support.folders import ROOT

LOAD = ["core", "fixed-prompt", "--prompt", "x"]
LIMITS = [LatencyLimit("latency P99", "latency", 1000)]


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    file = tmp_path / "d.yaml"
    file.write_text("model: model\nengine: {kind: replay, step_ms: 1.0}\n")
    return file


def figures(rate: float, latency_s: float, **more: Any) -> dict[str, Any]:
    spread = {"percentiles": {"99": latency_s}}
    base = {"errors": {}, "unfinished": 0, "answered": 4, "sent": 4, "requests_per_second": rate / 10}
    return base | {"output_tokens_per_second": rate, "latency": spread, "first_token": spread} | more


def outcome(name: str, data: dict[str, Any] | None, reason: str = "") -> Outcome:
    return Outcome(Variant(Setting(name, {}), Path("a.yaml"), Path("a.json"), False), data, reason)


def test_a_space_is_every_combination() -> None:
    """Values keep their YAML types; the name says what is special."""
    found = read_space(["engine.slots=1,2", "repository.prompt_format=raw,chat"])
    assert [s.name for s in found] == [
        "slots=1 prompt_format=raw",
        "slots=1 prompt_format=chat",
        "slots=2 prompt_format=raw",
        "slots=2 prompt_format=chat",
    ]
    assert found[3].values == {"engine.slots": 2, "repository.prompt_format": "chat"}


def test_a_value_may_have_keys_of_its_own() -> None:
    """As vLLM's settings of compilation have."""
    (found, other) = read_space(["engine.compilation_config={mode: 0, cudagraph_mode: NONE},null"])
    assert found.values == {"engine.compilation_config": {"mode": 0, "cudagraph_mode": "NONE"}}
    assert other.values == {"engine.compilation_config": None}
    with pytest.raises(ConfigurationError, match=r"--space a=\{b: 1: '\{b: 1' is no list of values"):
        read_space(["a={b: 1"])


def test_cases_set_keys_together(tmp_path: Path) -> None:
    """Each case with each point of the space."""
    file = tmp_path / "s.yaml"
    file.write_text("cases:\n  a: {engine.slots: 1, engine.step_ms: 2.5}\n  b: {engine.slots: 3}\n")
    found = read_space([str(file), "repository.max_in_flight=0,9"])
    assert [s.name for s in found] == [
        "a max_in_flight=0",
        "a max_in_flight=9",
        "b max_in_flight=0",
        "b max_in_flight=9",
    ]
    assert found[1].values == {"engine.slots": 1, "engine.step_ms": 2.5, "repository.max_in_flight": 9}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected the keys cases and space"),
        ("spaces: {}", "expected the keys cases and space"),
        ("space: {a: 1}", "a: expected a list"),
        ("space: {a: []}", "a: expected a list"),
        ("cases: {a: 1}", "case a: expected keys"),
        ("a: [", "neither KEY=VALUE,VALUE nor a YAML file"),
    ],
)
def test_a_space_of_the_wrong_form_is_one_line(text: str, reason: str, tmp_path: Path) -> None:
    """With the file and the entry at fault."""
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as error:
        read_space([str(tmp_path / "s.yaml")])
    assert "\n" not in str(error.value)


def test_a_key_given_by_case_and_space_is_refused(tmp_path: Path) -> None:
    """One of them would be lost."""
    (tmp_path / "s.yaml").write_text("cases: {a: {engine.slots: 1}}")
    with pytest.raises(ConfigurationError, match=r"engine\.slots is both in case a and in the space"):
        read_space([str(tmp_path / "s.yaml"), "engine.slots=1,2"])


def test_variants_are_deployments_of_their_own(deployment: Path, tmp_path: Path) -> None:
    """Paths are absolute, what is not varied stays, and what decides the result is in the file's name."""
    settings = read_space(["engine.slots=1,2"])
    found = write_variants(deployment, settings, tmp_path / "out", LOAD)
    loaded = [load_deployment(v.file, {}) for v in found]
    assert [d.engine.model_dump()["slots"] for d in loaded] == [1, 2]
    assert {d.engine.model_dump()["step_ms"] for d in loaded} == {1.0}
    assert {d.model for d in loaded} == {str(tmp_path / "model")}
    again = write_variants(deployment, settings, tmp_path / "out", LOAD)
    assert [v.result for v in again] == [v.result for v in found]
    other = write_variants(deployment, settings, tmp_path / "out", [*LOAD, "-c", "3"])
    assert not {v.result for v in other} & {v.result for v in found}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("engine.slotz=1", r"--space, slotz=1: engine\.slotz: unknown key"),
        ("engine.slots=many", r"--space, slots=many: engine\.slots"),
        ("model.x=1", r"--space: model\.x: model has no keys"),
    ],
)
def test_a_wrong_key_is_found_before_anything_runs(part: str, reason: str, deployment: Path, tmp_path: Path) -> None:
    """One line; and no file of it is left."""
    with pytest.raises(ConfigurationError, match=reason):
        write_variants(deployment, read_space([part]), tmp_path / "out", LOAD)
    assert not list((tmp_path / "out").glob("*.yaml"))


def test_the_best_has_most_tokens_within_the_limit_and_answered_all() -> None:
    """Faster ones that broke the limit, lost requests or did not start come behind."""
    found = rank(
        [
            outcome("late", figures(900, 1.5)),
            outcome("lossy", figures(800, 0.5, errors={"full": 1}, answered=3)),
            outcome("good", figures(500, 0.9)),
            outcome("slow", figures(100, 0.1)),
            outcome("broken", None, "port taken"),
        ],
        LIMITS,
    )
    assert [o.variant.setting.name for o in found] == ["good", "slow", "late", "lossy", "broken"]
    reasons = [why_not(o, LIMITS) for o in found]
    assert reasons[:2] == ["", ""]
    assert reasons[2:] == ["latency P99 1500 ms is above 1000", "1 of 4 requests without an answer", "port taken"]


def bench_that_writes(interrupted: bool = False) -> Any:
    """Stands in for a load: says its line and writes a result."""
    lines: list[list[str]] = []

    def bench(line: Sequence[str]) -> int:
        lines.append(list(line))
        print("table")
        data = {"interrupted": interrupted, "figures": figures(5, 0.1)}
        Path(line[line.index("--json") + 1]).write_text(json.dumps(data))
        return 0

    return bench, lines


def test_a_result_that_is_there_is_not_made_again(deployment: Path, tmp_path: Path) -> None:
    """The second call runs nothing; what the load printed is kept beside its result."""
    (variant,) = write_variants(deployment, read_space(["engine.slots=1"]), tmp_path / "out", LOAD)
    bench, lines = bench_that_writes()
    assert run_variant(variant, LOAD, bench).made
    assert not run_variant(variant, LOAD, bench).made
    assert lines == [
        ["core", "--deployment", str(variant.file), "--json", str(variant.result), "--name", "slots=1", *LOAD[1:]]
    ]
    assert variant.result.with_suffix(".txt").read_text() == "table\n"


def test_an_interrupted_load_counts_as_not_made(deployment: Path, tmp_path: Path) -> None:
    """Its half result would look like a slow setting."""
    (variant,) = write_variants(deployment, read_space(["engine.slots=1"]), tmp_path / "out", LOAD)
    bench, _ = bench_that_writes(interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        run_variant(variant, LOAD, bench)
    assert not variant.result.exists()


def test_a_setting_that_cannot_be_served_has_a_reason_and_the_others_go_on(deployment: Path, tmp_path: Path) -> None:
    """Its own last line, as the log told it."""

    def bench(_: Sequence[str]) -> int:
        raise ConfigurationError("the engine said: no memory\ntritonserver ended with code 1")

    (variant,) = write_variants(deployment, read_space(["engine.slots=1"]), tmp_path / "out", LOAD)
    assert run_variant(variant, LOAD, bench) == Outcome(variant, None, "tritonserver ended with code 1")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (["core", "--json", "x", *LOAD[1:]], "--json: tune gives this itself"),
        (["core", "-u", "a:1", *LOAD[1:]], "--url: tune gives this itself"),
        (["line"], "tune needs a load of a deployment"),
    ],
)
def test_a_load_that_tune_cannot_give_is_one_line(load: list[str], reason: str, deployment: Path) -> None:
    """Before any server is started."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigurationError, match=reason):
        run(parser.parse_args([str(deployment), "--space", "engine.slots=1", "--load", " ".join(load)]))


@pytest.mark.parametrize(
    ("name", "base"), [("two-builds", "replay"), ("cpu", "cpu"), ("tensorrtllm", "tensorrtllm"), ("vllm", "vllm")]
)
def test_the_examples_are_spaces_of_their_deployments(name: str, base: str, tmp_path: Path) -> None:
    """Every setting of deployments/tuning is a deployment that loads."""
    root = ROOT / "deployments"
    settings = read_space([str(root / "tuning" / f"{name}.yaml")])
    variants = write_variants(root / f"{base}.yaml", settings, tmp_path, LOAD)
    assert len(variants) == len(settings) >= 2
    assert all(yaml.safe_load(v.file.read_text())["engine"]["kind"] for v in variants)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A TensorRT-LLM that builds nothing, as the installed one."""
    workshop = Workshop(tmp_path)
    for name, value in workshop.fake.environment().items():
        monkeypatch.setenv(name, value)
    return workshop


def build_deployment(workshop: Workshop) -> Path:
    file = workshop.folder / "d.yaml"
    build = {
        "trtllm_version": "0.14.0",
        "examples": str(workshop.fake.examples),
        "checkpoint_dir": str(workshop.checkpoint),
    }
    engine = {"kind": "tensorrtllm", "engine_dir": str(workshop.engine)}
    file.write_text(yaml.safe_dump({"model": str(workshop.model), "engine": engine, "build": build}))
    return file


def test_a_key_of_the_build_builds_an_engine_for_each_value(workshop: Workshop) -> None:
    """In a folder of its own, from the one checkpoint that is converted once; the deployment's own engine is not touched."""
    settings = read_space(["build.build_flags.max_batch_size=16,64"])
    variants = write_variants(build_deployment(workshop), settings, workshop.folder / "out", LOAD)
    bench, lines = bench_that_writes()
    assert run_variant(variants[0], LOAD, bench).made
    converted = workshop.wrote()
    assert run_variant(variants[1], LOAD, bench).made
    assert workshop.wrote() == converted
    folders = [Path(yaml.safe_load(v.file.read_text())["engine"]["engine_dir"]) for v in variants]
    built = [json.loads((f / "config.json").read_text())["build_config"]["max_batch_size"] for f in folders]
    assert built == [16, 64]
    assert len(lines) == 2
    assert not workshop.engine.exists()


def test_a_build_that_fails_is_that_settings_reason(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is served for it, and the whole output is kept."""
    monkeypatch.setenv("FAKE_TRTLLM", json.dumps({"build": "fail"}))
    settings = read_space(["build.build_flags.max_batch_size=16"])
    (variant,) = write_variants(build_deployment(workshop), settings, workshop.folder / "out", LOAD)
    bench, lines = bench_that_writes()
    outcome = run_variant(variant, LOAD, bench)
    assert outcome.figures is None
    assert outcome.reason.startswith("build: ")
    assert lines == []
    assert variant.result.with_suffix(".build.txt").read_text()
