"""What upstream's converter did with 2,841 conversions of small checkpoints, and what the build says of each.

A fact of the table stands for every combination of its lists. At 0.14.0 whatever works is accepted and whatever fails, or
ends well with files that are wrong or cannot be loaded, is refused, by a rule of the table that holds for it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.build_section import Build
from qwen_triton_build.trtllm.plan.checkpoint_facts import CheckpointFacts
from qwen_triton_build.trtllm.plan.converter_rules import OLD_LOADER, RULES, check_conversion
from qwen_triton_build.trtllm.plan.steps import Step, plan_build, shell_line
from qwen_triton_build.trtllm.tools.versions import release_of
from tests.support.folders import ROOT

TABLE: list[dict[str, Any]] = json.loads((ROOT / "tests/data/contract/converter_facts.json").read_text())
MODELS = {row["name"]: row for row in TABLE if row["kind"] == "model"}
LATER = "0.17.0.dev2024121700"
ASKED = ("none", "int8_weight_only", "int4_weight_only", "int4_gptq", "int4_awq", "smoothquant")
"""The converter's other forms cannot be asked for in a deployment."""


@dataclass(frozen=True)
class Run:
    """One conversion that upstream's script ran."""

    model: str
    build: Build
    old_loader: bool

    @property
    def key(self) -> tuple[str, str, bool]:
        return self.model, self.build.model_dump_json(), self.old_loader


def facts_of(name: str) -> CheckpointFacts:
    row = MODELS[name]
    scaling = row.get("rope_scaling") or {}
    quantized = row["weights"] != "plain"
    lacks = row.get("lacks", ())
    return CheckpointFacts(
        row["family"], row["layers"], row["heads"], row["kv_heads"], row["hidden"], row["intermediate"], row["vocab"],
        32_768, 1_000_000,
        quantized_by=row["weights"] if quantized else None,
        bits=row["bits"] if quantized else None,
        group_size=row["group"] if quantized else None,
        desc_act=row.get("desc_act", False),
        symmetric=row.get("sym", True),
        tied=row["tied"],
        has_lm_head=not row["tied"] or row.get("lm_head_in_file", False),
        rope_scaling=scaling.get("rope_type", scaling.get("type")),
        has_slow_tokenizer="vocab.json" not in lacks,
        has_generation_config="generation_config.json" not in lacks,
    )  # fmt: skip


def runs(fact: Mapping[str, Any]) -> Iterator[Run]:
    flags = fact.get("convert_flags") or [{}]
    lists = (fact["models"], fact["quantization"], fact["kv_cache"], fact["dtype"], fact["tp"], fact["pp"], flags)
    for model, quantization, kv_cache, dtype, tp, pp, raw in itertools.product(*lists):
        if quantization in ASKED:
            build = Build(
                quantization=quantization,
                kv_cache=kv_cache,
                dtype=dtype,
                tp=tp,
                pp=pp,
                convert_flags=raw,
                smoke_run=False,
            )
            yield Run(model, build, bool(fact.get("environment")))


def outcomes(upstream: str) -> dict[tuple[str, str, bool], tuple[Run, bool]]:
    """Every run, and whether its files are right."""
    return {
        run.key: (run, fact["result"] == "works" and fact["equal"] != "no" and fact["loads"] == "yes")
        for fact in TABLE
        if fact["kind"] == "fact" and fact["upstream"] == upstream
        for run in runs(fact)
    }


def convert_step(run: Run, version: str) -> Step:
    model = facts_of(run.model)
    return plan_build(run.build, Path("/engines/e"), "/models/m", model, release_of(version), Path("/examples"))[0]


def test_every_run_of_0_14_is_accepted_if_it_works_and_refused_if_not() -> None:
    """A run without the variable is the build's own where the build does not set it; one with it where it does."""
    wrong, counted = [], {True: 0, False: 0}
    for run, works in outcomes("0.14.0").values():
        try:
            step = convert_step(run, "0.14.0")
        except ConfigurationError as error:
            accepted, reason = False, str(error)
        else:
            if (step.environment == OLD_LOADER) != run.old_loader:
                continue
            accepted, reason = True, " ".join(step.warnings)
        if not accepted and run.old_loader:
            continue  # the build never asks for this run, whatever it does
        counted[works] += 1
        if accepted != works and "expert gets no token" not in reason:
            wrong.append((run.model, run.build.model_dump(exclude_defaults=True), works, reason))
    assert wrong == []
    assert counted[True] > 600
    assert counted[False] > 400


def test_a_run_that_the_variable_makes_work_is_accepted_with_it() -> None:
    table = outcomes("0.14.0")
    mended = [run for run, works in table.values() if run.old_loader and works]
    with_it = [run for run in mended if convert_step_or_none(run) is not None and facts_of(run.model).tied]
    assert {convert_step(run, "0.14.0").environment == OLD_LOADER for run in with_it if run.build.kv_cache == "model"
            and run.build.quantization != "smoothquant" and not facts_of(run.model).has_lm_head} == {True}  # fmt: skip
    assert len(with_it) > 150


def convert_step_or_none(run: Run) -> Step | None:
    try:
        return convert_step(run, "0.14.0")
    except ConfigurationError:
        return None


def test_later_releases_warn_of_what_failed_at_0_17_and_refuse_nothing_for_it() -> None:
    bad = {
        rule["rule"]
        for rule in TABLE
        if rule["kind"] == "rule" and rule["upstream"] == LATER and rule["outcome"] == "bad"
    }
    assert {rule.name for rule in RULES if rule.later and rule.certain} <= bad
    run = Run("untied-h8k8", Build(quantization="smoothquant", tp=1), old_loader=False)
    assert check_conversion(run.build, facts_of("moe-h8k2"), release_of("0.21.0")) == [
        "build.quantization: SmoothQuant does not know experts; give int8_weight_only or int4_weight_only "
        "(seen at 0.17; 0.21 was not tried)"
    ]
    assert check_conversion(run.build, facts_of("untied-h8k8"), release_of("1.2.1")) == []


def test_rules_are_the_tables() -> None:
    """Each rule of ours is one of the table, bad where the table says bad."""
    table = {(row["rule"], row["upstream"]): row["outcome"] for row in TABLE if row["kind"] == "rule"}
    for rule in RULES:
        assert (table[rule.name, "0.14.0"] == "bad") == (rule.old and rule.certain), rule.name
        assert table.get((rule.name, LATER)) != "bad" or rule.later, rule.name


def test_the_variable_stands_in_the_line_that_is_shown() -> None:
    step = convert_step(Run("tied-h8k2", Build(), old_loader=True), "0.14.0")
    line = shell_line(step.command, step.environment)
    assert line.startswith("TRTLLM_DISABLE_UNIFIED_CONVERTER=1 python3 convert_checkpoint.py --model_dir /models/m/")
    assert convert_step(Run("tied-h8k2", Build(), old_loader=False), "0.21.0").environment == {}


@pytest.mark.parametrize(
    ("model", "build", "message"),
    [
        ("untied-h8k2", {"tp": 4}, "build.tp: there are fewer KV heads than GPUs"),
        ("untied-h8k2", {"tp": 2, "quantization": "smoothquant"}, "build.tp: SmoothQuant of a model with grouped KV heads"),
        ("untied-h8k2-yarn", {}, "model: config.json has rope_scaling of type yarn"),
        ("gptq-h8k2", {"quantization": "int4_gptq", "dtype": "float32"}, "half of each GPTQ weight would be zeros"),
        ("untied-h8k2", {"convert_flags": {"use_embedding_sharing": True}}, "use_embedding_sharing: ends the converter with a"),
        ("moe-h8k4", {"tp": 4, "convert_flags": {"moe_tp_size": 1, "moe_ep_size": 2}}, "moe_tp_size × moe_ep_size must be"),
        ("untied-h8k2-nogen", {"kv_cache": "int8"}, "model: calibration needs generation_config.json"),
        ("untied-h8k2-fastonly", {"kv_cache": "int8"}, "model: calibration needs vocab.json and merges.txt"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_key_the_reason_and_the_release(model: str, build: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        convert_step(Run(model, Build(smoke_run=False, **build), old_loader=False), "0.14.0")
    assert message in str(refused.value)
    assert str(refused.value).endswith("(TensorRT-LLM 0.14)")


def test_every_fault_has_a_line() -> None:
    build = Build(tp=4, kv_cache="int8", smoke_run=False)
    with pytest.raises(ConfigurationError) as refused:
        convert_step(Run("untied-h8k2-nogen", build, old_loader=False), "0.14.0")
    assert len(str(refused.value).splitlines()) == 2


def test_flags_with_numbers_to_choose_from_are_spelt_and_refused() -> None:
    build = Build(convert_flags={"use_parallel_embedding": True, "embedding_sharding_dim": 1}, smoke_run=False)
    words = convert_step(Run("untied-h8k2", build, old_loader=False), "0.14.0").command
    assert words[-3:] == ("--use_parallel_embedding", "--embedding_sharding_dim", "1")
    wrong = Build(convert_flags={"embedding_sharding_dim": 2}, smoke_run=False)
    with pytest.raises(ConfigurationError, match="embedding_sharding_dim: got 2, expected one of 0, 1"):
        convert_step(Run("untied-h8k2", wrong, old_loader=False), "0.14.0")


def test_a_data_set_is_given_to_what_is_calibrated_only() -> None:
    texts = {"calib_dataset": "/data/texts", "smoke_run": False}
    calibrated = convert_step(Run("untied-h8k2", Build(kv_cache="int8", **texts), old_loader=False), "0.14.0").command
    assert calibrated[calibrated.index("--calib_dataset") + 1] == "/data/texts/"
    assert "--calib_dataset" not in convert_step(Run("untied-h8k2", Build(**texts), old_loader=False), "0.14.0").command
