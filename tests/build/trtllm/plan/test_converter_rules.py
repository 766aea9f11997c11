"""What upstream's converter did with 2,841 conversions of small checkpoints, and what the build says of each.

A fact of the table stands for every combination of its lists. At 0.14.0 whatever works is accepted and whatever fails, or
ends well with files that are wrong or cannot be loaded, is refused, by a rule of the table that holds for it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.build_section import Build, Quantization
from qwen_triton_build.trtllm.plan.checkpoint_facts import CheckpointFacts
from qwen_triton_build.trtllm.plan.converter_rules import OLD_LOADER, RULES, check_conversion
from qwen_triton_build.trtllm.plan.steps import Step, plan_build, shell_line
from qwen_triton_build.trtllm.tools.versions import release_of
from tests.support.contract_parser import parse
from tests.support.converter_words import broken_rules
from tests.support.fake_trtllm.converter_facts import ShownCheckpoint, failure_of
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


PLAIN: tuple[Quantization, ...] = ("none", "int8_weight_only", "int4_weight_only", "smoothquant")
SIZES = (
    (14, 2, 896, 4864, 24, 151_936), (12, 2, 1536, 8960, 28, 151_936), (16, 2, 2048, 11_008, 36, 151_936),
    (28, 4, 3584, 18_944, 28, 152_064), (40, 8, 5120, 13_824, 48, 152_064), (64, 8, 8192, 29_568, 80, 152_064),
    (20, 20, 2560, 6912, 40, 151_936), (16, 16, 2048, 5504, 24, 151_936), (32, 32, 4096, 11_008, 32, 151_936),
)  # fmt: skip
"""Heads, KV heads, hidden, intermediate, layers and vocabulary of Qwen1.5 and Qwen2.5."""
RAW: tuple[dict[str, Any], ...] = (
    *({} for _ in range(4)),
    {"use_embedding_sharing": True},
    {"use_embedding_sharing": True, "use_parallel_embedding": True},
    {"use_parallel_embedding": True, "embedding_sharding_dim": 1},
    {"disable_weight_only_quant_plugin": True},
    *({"moe_tp_size": n} for n in (1, 2, 4)),
    *({"moe_ep_size": n} for n in (1, 2, 4)),
    *({"moe_tp_size": m, "moe_ep_size": n} for m in (1, 2, 4) for n in (1, 2, 4)),
)


def any_model(draw: random.Random) -> CheckpointFacts:
    """Of a real size, or at a border: KV heads about tp, widths about multiples of 64 × tp, a vocabulary of one token more."""
    heads, kv_heads, hidden, inner, layers, vocab = draw.choice(SIZES)
    if draw.random() < 0.4:
        heads = draw.choice((4, 8, 12, 16, 28))
        kv_heads = draw.choice([n for n in (1, 2, 4, 7, 8, heads) if heads % n == 0])
        hidden = heads * draw.choice((64, 96, 128))
        multiple = 64 * draw.choice((1, 2, 4, 8)) * draw.choice((1, 2, draw.randint(1, 40)))
        inner = max(64, multiple + draw.choice((0, 64, -64, 32, 1, -1)))
        vocab += draw.choice((0, 1))
    quantized = draw.choice((None, None, "gptq"))
    tied = draw.random() < 0.4
    return CheckpointFacts(
        draw.choice(("qwen2", "qwen2", "qwen2_moe")), layers, heads, kv_heads, hidden, inner, vocab, 32_768, 1_000_000,
        quantized_by=quantized,
        bits=draw.choice((4, 4, 8)) if quantized else None,
        group_size=draw.choice((128, 128, 64, 32, -1)) if quantized else None,
        desc_act=quantized is not None and draw.random() < 0.1,
        tied=tied,
        has_lm_head=not tied or draw.random() < 0.3,
        rope_scaling=draw.choice((None, None, "linear", "dynamic", "yarn")),
        has_slow_tokenizer=draw.random() < 0.9,
        has_generation_config=draw.random() < 0.9,
    )  # fmt: skip


def test_what_the_words_of_a_rule_mean_at_its_borders() -> None:
    """An oracle holds at sizes that upstream did not run: where it says bad, no build is accepted; where it does not, those
    that are refused have a reason of ours: pieces of heads and groups, weights that calibration would replace."""
    draw = random.Random(20)
    accepted = 0
    for _ in range(4000):
        model = any_model(draw)
        quantizations: tuple[Quantization, ...] = ("int4_gptq",) if model.quantized_by else PLAIN
        build = Build(
            quantization=draw.choice(quantizations),
            kv_cache=draw.choice(("model", "model", "int8")),
            dtype=draw.choice(("float16", "float16", "bfloat16", "float32")),
            tp=draw.choice((1, 2, 3, 4, 8, 16)),
            pp=draw.choice((1, 1, 2, 3)),
            convert_flags=draw.choice(RAW),
            smoke_run=False,
        )  # fmt: skip
        try:
            step = plan_build(build, Path("/e"), "/m", model, release_of("0.14.0"), Path("/x"))[0]
        except ConfigurationError as error:
            plain = model.quantized_by is None and model.model_type == "qwen2" and model.tied and not model.has_lm_head
            variable = plain and build.quantization != "smoothquant" and build.kv_cache == "model"
            ours = ("attention heads", "KV heads cannot", "that share a scale", "would replace the GPTQ weights")
            reason = str(error)
            assert broken_rules(build, model, variable=variable) or any(o in reason for o in ours), (
                build,
                model,
                reason,
            )
        else:
            assert broken_rules(build, model, variable=bool(step.environment)) == set(), (build, model)
            accepted += 1
    assert accepted > 300


@pytest.mark.parametrize("sizes", [{"moe_tp_size": -2, "moe_ep_size": -2}, {"moe_tp_size": -4}, {"moe_ep_size": 0}])
def test_sizes_below_one_are_no_sizes(sizes: dict[str, int]) -> None:
    """Their product may be tp all the same."""
    run = Run("moe-h8k4", Build(tp=4, convert_flags=dict(sizes), smoke_run=False), old_loader=False)
    with pytest.raises(ConfigurationError, match=r"moe_tp_size × moe_ep_size must be build\.tp"):
        convert_step(run, "0.14.0")


@pytest.mark.parametrize("kind", [None, "linear", "dynamic", "longrope", "llama3"])
def test_scalings_that_0_14_looks_up_are_taken(kind: str | None) -> None:
    assert check_conversion(Build(), replace(facts_of("untied-h8k2"), rope_scaling=kind), release_of("0.14.0")) == []


@pytest.mark.parametrize("kind", ["yarn", "mrope", "default", "su", "YARN"])
def test_other_scalings_end_its_converter(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="which no engine of this release can have; remove it"):
        check_conversion(Build(), replace(facts_of("untied-h8k2"), rope_scaling=kind), release_of("0.14.0"))
    assert check_conversion(Build(), replace(facts_of("untied-h8k2"), rope_scaling=kind), release_of("0.21.0")) == []


def shown(name: str) -> ShownCheckpoint:
    """A model of the table as its files show it."""
    row = MODELS[name]
    config: dict[str, Any] = {
        "model_type": row["family"], "num_attention_heads": row["heads"], "num_key_value_heads": row["kv_heads"],
        "hidden_size": row["hidden"], "intermediate_size": row["intermediate"], "num_hidden_layers": row["layers"],
        "vocab_size": row["vocab"], "tie_word_embeddings": row["tied"], "rope_scaling": row.get("rope_scaling"),
    }  # fmt: skip
    if row["weights"] != "plain":
        sizes = {"bits": row["bits"], "group_size": row["group"], "desc_act": row["desc_act"], "sym": row["sym"]}
        config["quantization_config"] = {"quant_method": row["weights"], **sizes}
    return ShownCheckpoint(config, row.get("lacks", ()), row.get("lm_head_in_file", False))


def words_of(run: Run) -> list[str]:
    """A run's flags, whether or not a build would give them."""
    build, line = run.build, ["--model_dir", "/m/", "--output_dir", "/o/", "--dtype", run.build.dtype]
    line += ["--tp_size", str(build.tp), "--pp_size", str(build.pp)]
    if build.quantization == "smoothquant":
        line += ["--smoothquant", "0.5", "--per_token", "--per_channel"]
    elif build.quantization not in ("none", "int4_awq"):
        line += ["--use_weight_only", "--weight_only_precision", build.quantization.removesuffix("_weight_only")]
    line += ["--int8_kv_cache"] if build.kv_cache == "int8" else []
    for name, value in build.convert_flags.items():
        line += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return line


def test_the_fake_converter_fails_where_upstream_s_does() -> None:
    """Every run of a checkpoint in safetensors, also those that no build asks for; AWQ has no flag that would tell it."""
    failed = {
        run.key
        for fact in TABLE
        if fact["kind"] == "fact" and fact["upstream"] == "0.14.0" and fact["result"] == "fails"
        for run in runs(fact)
    }
    wrong, compared = [], 0
    for run, _ in outcomes("0.14.0").values():
        if (
            MODELS[run.model]["format"] != "safetensors"
            or run.build.quantization == "int4_awq"
            or run.build.dtype == "auto"
        ):
            continue
        sent = parse("convert_checkpoint", "0.14.0", words_of(run))
        told = failure_of("0.14.0", shown(run.model), sent, OLD_LOADER if run.old_loader else {})
        if (told is not None) != (run.key in failed):
            wrong.append((run, told))
        compared += 1
    assert wrong == []
    assert compared > 1000


@pytest.mark.parametrize(
    ("model", "line", "failure"),
    [
        ("tied-h8k2", "", "AttributeError: 'NoneType' object has no attribute 'to'"),
        ("untied-h8k2", "--tp_size 4", "IndexError: tuple index out of range"),
        ("untied-h8k2", "--use_embedding_sharing", "TypeError"),
        ("untied-h8k2-yarn", "", "ValueError: Unsupported rotary scaling type: yarn"),
        ("untied-h8k2-nogen", "--int8_kv_cache", "FileNotFoundError: "),
        ("moe-h8k4", "--tp_size 4 --moe_tp_size 1 --moe_ep_size 2", "AssertionError: moe_tp_size"),
        ("gptq-h8k2", "--use_weight_only --weight_only_precision int4_gptq", None),
        ("untied-h8k2", "--tp_size 2", None),
    ],
)
def test_lines_that_no_build_makes_end_in_the_fake_as_upstream(model: str, line: str, failure: str | None) -> None:
    words = ["--model_dir", "/m/", "--output_dir", "/o/", "--dtype", "float16", *line.split()]
    told = failure_of("0.14.0", shown(model), parse("convert_checkpoint", "0.14.0", words), {})
    assert (told or "").startswith(failure or "")
    assert (told is None) == (failure is None)
