"""Every release × quantisation × KV cache × tp × pp × type × profile: its lines are the contract's, or it is refused."""

from __future__ import annotations

import itertools
import re
import shlex
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.build_section import Build, KvCache, Profile, Quantization
from qwen_triton_build.deployment.schema import load_deployment
from qwen_triton_build.trtllm.plan.checkpoint_facts import CheckpointFacts
from qwen_triton_build.trtllm.plan.steps import Step, plan_build
from qwen_triton_build.trtllm.tools.flags import Tool, flags_of
from qwen_triton_build.trtllm.tools.versions import release_of
from tests.support.contract_parser import facts_of, parse
from tests.support.contract_rules import algorithm_of, conversion_faults, violations
from tests.support.folders import ROOT

VERSIONS = {
    "0.14.0": "0.14.0",
    "0.21.0": "0.21.0",
    "1.0.0": "1.0.0",
    "1.0.3.2510": "1.0.0",
    "1.1.0": "1.2",
    "1.2.1": "1.2",
}
"""A version as installed: the release line whose contract holds."""
PLAIN = CheckpointFacts("qwen2", 48, 40, 8, 5120, 13824, 152_064, 32_768, 30_000_000_000)
GPTQ = replace(PLAIN, quantized_by="gptq", bits=4, group_size=128)
ENGINE, EXAMPLES = Path("/engines/e"), Path("/examples")


def plan(build: Build, version: str = "0.14.0", facts: CheckpointFacts | None = PLAIN) -> list[Step]:
    return plan_build(build, ENGINE, "/models/m", facts, release_of(version), EXAMPLES)


def parsed(step: Step, line: str) -> Namespace:
    """What the step's tool understands of its line."""
    words = list(step.command)
    if words[0] == "trtllm-build":
        return parse("trtllm-build", line, words[1:])
    at = words.index("python3") + 1
    return parse(Path(words[at]).stem, line, words[at + 1 :])


def refusal(build: Build, version: str) -> str | None:
    """The documented reason why a combination is refused, None where it is not."""
    old = version.startswith("0.14")
    long_context = build.profile == "long-context"
    reasons = {
        "build.dtype: auto is new in TensorRT-LLM 0.15": build.dtype == "auto" and old,
        "build.kv_cache: .* with int4_gptq is refused": build.quantization == "int4_gptq" and build.kv_cache != "model",
        "build.kv_cache: fp8 with smoothquant is refused": (build.quantization, build.kv_cache)
        == ("smoothquant", "fp8"),
        "build.kv_cache: int8 with fp8 is refused": (build.quantization, build.kv_cache) == ("fp8", "int8"),
        "build.tp: SmoothQuant of a model with grouped KV heads": old
        and build.quantization == "smoothquant"
        and build.tp > 1,
        "build.dtype: biases of a GPTQ checkpoint stay float16": old
        and (build.quantization, build.dtype) == ("int4_gptq", "bfloat16"),
        "use_paged_context_fmha: does not go with an INT8 KV cache": build.kv_cache == "int8" and long_context,
        "use_paged_context_fmha: TensorRT-LLM 0.14 refuses it for an FP8 KV cache": (
            build.kv_cache == "fp8" and build.quantization != "fp8" and long_context and old
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


ALGORITHMS = {"none": None, "int8_weight_only": "W8A16", "int4_weight_only": "W4A16", "int4_gptq": "W4A16_GPTQ"} | {
    "int4_awq": "W4A16_AWQ",
    "fp8": "FP8",
    "smoothquant": "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
}


@pytest.mark.parametrize("quantization", get_args(Quantization))
@pytest.mark.parametrize("version", VERSIONS)
def test_every_combination_is_the_contract_s_or_refused(version: str, quantization: Any) -> None:
    """The lines parse, hold the contract's constraints, and ask for what the deployment says; or the reason is given."""
    line, facts = VERSIONS[version], GPTQ if quantization == "int4_gptq" else PLAIN
    dtypes = ("float16", "bfloat16", "auto")
    built = 0
    for kv, tp, pp, profile, dtype in itertools.product(
        get_args(KvCache), (1, 2, 4), (1, 2, 3), get_args(Profile), dtypes
    ):
        build = Build(quantization=quantization, kv_cache=kv, tp=tp, pp=pp, profile=profile, dtype=dtype)
        reason = refusal(build, version)
        if reason is not None:
            with pytest.raises(ConfigurationError, match=reason):
                plan(build, version, facts)
            continue
        convert, engine, run = (parsed(step, line) for step in plan(build, version, facts))
        algorithm, kv_algorithm = algorithm_of(line, convert)
        assert (algorithm, kv_algorithm) == (ALGORITHMS[quantization], {"model": None}.get(kv, kv.upper()))
        assert violations(line, engine, algorithm, kv_algorithm) == conversion_faults(convert) == []
        assert (convert.tp_size, convert.pp_size, convert.dtype) == (tp, pp, dtype)
        assert (convert.model_dir, engine.checkpoint_dir) == ("/models/m/", convert.output_dir)
        assert (run.engine_dir, run.tokenizer_dir) == (engine.output_dir, "/models/m/")
        built += 1
    assert built >= 24


@pytest.mark.parametrize("tool", get_args(Tool))
@pytest.mark.parametrize("line", ["0.14.0", "0.21.0", "1.0.0", "1.2"])
def test_the_flag_tables_are_the_contract_s(tool: Tool, line: str) -> None:
    """Each flag with its spellings, type and choices; none more, none less."""
    ours = flags_of(tool, line)
    expected = {}
    for flag in facts_of(tool, line)["flags"]:
        kind = (
            "switch" if flag["action"] == "store_true" else {"int": "int", "float": "float"}.get(flag["type"], "text")
        )
        choices = tuple(c for c in flag["choices"] or () if c is not None)
        choices = ("continuous", "paged", "disabled") if "KVCacheType" in flag["type"] else choices
        for name in flag["flags"]:
            if name.startswith("--"):
                expected[name[2:]] = (kind, choices, flag["nargs"] == "+")
    assert {name: (flag.kind, flag.choices, flag.many) for name, flag in ours.items()} == expected


BLOG_PLAIN = """
python3 convert_checkpoint.py --model_dir /models/Qwen2-14B-Instruct/   \
                              --output_dir /engines/middle/Qwen2-14B-Instruct-Int4/  \
                              --dtype float16 \
                              --use_weight_only \
                              --weight_only_precision int4  \
                              --pp_size  2
trtllm-build --checkpoint_dir /engines/middle/Qwen2-14B-Instruct-Int4/ \
            --output_dir /engines/trt_engines/Qwen2-14B-Instruct-Int4/weight_only/2-gpu/ \
            --gemm_plugin float16
mpirun -n 2 --allow-run-as-root  python3 ../run.py --input_text "你好，请问你叫什么？" \
                  --max_output_len=50 \
                  --tokenizer_dir /models/Qwen2-14B-Instruct/ \
                  --engine_dir /engines/trt_engines/Qwen2-14B-Instruct-Int4/weight_only/2-gpu/
"""
BLOG_OPTIMISED = """
python3 convert_checkpoint.py --model_dir /models/Qwen2-14B-Instruct/   \
                              --output_dir /engines/middle/Qwen2-14B-Instruct-Int4/  \
                              --dtype float16 \
                              --use_weight_only \
                              --weight_only_precision int4  \
                              --pp_size  2
trtllm-build --checkpoint_dir /engines/middle/Qwen2-14B-Instruct-Int4/ \
             --output_dir /engines/trt_engines/Qwen2-14B-Instruct-Int4/weight_only/2-gpu-opti/ \
             --remove_input_padding enable \
             --gpt_attention_plugin float16 \
             --context_fmha enable \
             --gemm_plugin float16 \
             --kv_cache_type paged \
             --max_batch_size 64
"""


@pytest.mark.parametrize(
    ("file", "commands"),
    [("tensorrtllm.yaml", BLOG_PLAIN), ("tensorrtllm-throughput.yaml", BLOG_OPTIMISED)],
)
def test_the_blog_s_builds_word_for_word(file: str, commands: str) -> None:
    """The two example deployments give the commands that the blog tells to type, in the folder it tells to go to."""
    deployment = load_deployment(ROOT / "deployments" / file, environment={})
    assert deployment.build is not None
    assert deployment.build.examples is not None
    engine_dir = getattr(deployment.engine, "engine_dir")  # noqa: B009  only one kind of engine has it
    steps = plan_build(
        deployment.build, engine_dir, deployment.model, None, release_of("0.14.0"), deployment.build.examples
    )
    expected = [shlex.split(line) for line in commands.strip().splitlines()]
    assert [list(step.command) for step in steps][: len(expected)] == expected
    assert str(steps[0].folder) == "/tensorrtllm_backend/tensorrt_llm/examples/qwen"


@pytest.mark.parametrize("version", ["0.21.0", "1.2.1"])
def test_later_releases_have_their_scripts_elsewhere(version: str) -> None:
    """examples/qwen became examples/models/core/qwen in 0.19; run.py and quantize.py kept their place."""
    convert, _, run = plan(Build(quantization="fp8", tp=2), version)
    assert convert.folder == run.folder == EXAMPLES / "models/core/qwen"
    assert convert.command[:2] == ("python3", "../../../quantization/quantize.py")
    assert run.command[4:6] == ("python3", "../../../run.py")


QWEN3 = replace(PLAIN, model_type="qwen3")


@pytest.mark.parametrize(
    ("version", "build", "facts", "error"),
    [
        ("0.14.0", {"pp": 5}, PLAIN, "build.pp: 48 layers do not divide by 5, and TensorRT-LLM drops what is left over "
         "without a word; give one of 1, 2, 3, 4, 6, 8, 12, 16"),
        ("0.14.0", {"tp": 3}, PLAIN, "build.tp: 40 attention heads do not divide by 3; give one of 1, 2, 4, 5, 8, 10"),
        ("0.14.0", {"tp": 8, "quantization": "int4_awq"}, replace(PLAIN, intermediate_size=29_568),
         "build.tp: the intermediate size 29568 is no multiple of 128 × 8, the weights that share a scale × tp; give a "
         "smaller tp, or other quantization"),
        ("0.14.0", {}, QWEN3, "model: model_type 'qwen3' is not known to TensorRT-LLM 0.14, which has qwen, qwen2, qwen2_moe"),
        ("0.14.0", {}, replace(PLAIN, model_type="llama"),
         "model: model_type 'llama' is not known to TensorRT-LLM 0.14, which has qwen, qwen2, qwen2_moe"),
        ("1.2.1", {"quantization": "int4_gptq"}, PLAIN,
         "build.quantization: int4_gptq needs a GPTQ checkpoint, and this one has plain weights"),
        ("1.2.1", {}, GPTQ, "build.quantization: none, but the checkpoint's weights are GPTQ, which would win silently or "
         "be misread; give int4_gptq"),
        ("1.2.1", {"quantization": "int4_gptq"}, replace(GPTQ, bits=8),
         "model: its weights have 8 bits; only 4-bit GPTQ and AWQ can be converted"),
        ("1.2.1", {"quantization": "int4_gptq"}, replace(GPTQ, desc_act=True),
         "model: its GPTQ weights have desc_act, which TensorRT-LLM ignores; use one without"),
        ("0.14.0", {"quantization": "int4_awq"}, replace(GPTQ, quantized_by="awq"),
         "model: TensorRT-LLM 0.14 cannot read an AWQ checkpoint; give the plain one, to be quantised here"),
        ("1.2.1", {"quantization": "int4_awq", "kv_cache": "fp8"}, replace(GPTQ, quantized_by="awq"),
         "build.kv_cache: fp8 needs calibration, and an AWQ checkpoint cannot be calibrated; give the plain one"),
        ("1.2.1", {}, replace(PLAIN, quantized_by="fp8"),
         "model: its weights are quantised by 'fp8'; give the plain checkpoint"),
    ],
)  # fmt: skip
def test_models_that_a_build_would_misread_are_refused(
    version: str, build: dict[str, Any], facts: CheckpointFacts, error: str
) -> None:
    """One line, with the reason and the remedy."""
    with pytest.raises(ConfigurationError, match=f"^{re.escape(error)}$"):
        plan(Build(**build), version, facts)


@pytest.mark.parametrize(
    ("version", "flags", "error"),
    [
        ("0.21.0", {"enable_xqa": "enable"},
         "build.build_flags: trtllm-build of TensorRT-LLM 0.21.0: enable_xqa is gone since 0.16"),
        ("1.2.1", {"auto_parallel": 2},
         "build.build_flags: trtllm-build of TensorRT-LLM 1.2: auto_parallel is gone since 1.1"),
        ("0.14.0", {"max_output_len": 5},
         "build.build_flags: trtllm-build of TensorRT-LLM 0.14.0: max_output_len is gone since "
         "0.12: give max_seq_len, prompt and answer together"),
        ("0.14.0", {"tp_size": 2}, "build.build_flags: trtllm-build of TensorRT-LLM 0.14.0: tp_size is a matter of the "
         "checkpoint since 0.12: give build.tp"),
        ("0.14.0", {"max_batchsize": 2}, "build.build_flags: trtllm-build of TensorRT-LLM 0.14.0 has no flag max_batchsize; "
         "did you mean max_batch_size?"),
        ("0.14.0", {"pp_reduce_scatter": "enable"}, "build.build_flags: trtllm-build of TensorRT-LLM 0.14.0 has no flag "
         "pp_reduce_scatter"),
        ("0.14.0", {"gemm_plugin": "nvfp4"}, "build.build_flags: gemm_plugin: got 'nvfp4', expected one of auto, float16, "
         "float32, bfloat16, int32, fp8, disable"),
        ("0.14.0", {"max_batch_size": "many"}, "build.build_flags: max_batch_size: got 'many', expected a whole number"),
        ("0.14.0", {"context_fmha": True}, "build.build_flags: context_fmha: got true, expected one of enable, disable"),
        ("0.14.0", {"strip_plan": "yes"}, "build.build_flags: strip_plan: got 'yes', expected true or false"),
        ("0.14.0", {"output_dir": "/x"},
         "build.build_flags.output_dir: is set by engine.engine_dir and build.checkpoint_dir; give it there"),
        ("0.14.0", {"build_config": "x.json"},
         "build.build_flags.build_config: is refused: silently overrides the other flags"),
        ("0.14.0", {"fast_build": True}, "build.build_flags.fast_build: TensorRT-LLM 0.14 refuses it for integer weights"),
        ("0.14.0", {"reduce_fusion": "enable"}, "build.build_flags.reduce_fusion: has no effect on Qwen at TensorRT-LLM 0.14"),
        ("0.14.0", {"max_seq_len": 100, "max_input_len": 200},
         "build.build_flags.max_input_len: 200 would be cut to max_seq_len 100"),
        ("0.14.0", {"max_num_tokens": 32}, "build.build_flags.max_num_tokens: 32 would be raised to tokens_per_block 64"),
        ("0.14.0", {"max_seq_len": 100, "max_batch_size": 1, "max_num_tokens": 200},
         "build.build_flags.max_num_tokens: 200 would be cut to max_seq_len × max_batch_size, 100"),
        ("1.2.1", {"streamingllm": "enable"}, "build.build_flags.streamingllm: is refused for Qwen"),
        ("1.2.1", {"pp_reduce_scatter": "enable"}, "build.build_flags.pp_reduce_scatter: is for Mixtral only"),
        ("0.14.0", {"kv_cache_type": "paged", "paged_kv_cache": "disable"},
         "build.build_flags.paged_kv_cache: disable contradicts kv_cache_type paged"),
        ("0.14.0", {"multiple_profiles": "enable", "opt_num_tokens": 8}, "build.build_flags.opt_num_tokens: cannot be given "
         "with multiple_profiles, which profile latency sets"),
        ("0.14.0", {"gather_context_logits": True, "max_draft_len": 4},
         "build.build_flags.max_draft_len: speculative decoding cannot gather context logits"),
    ],
)  # fmt: skip
def test_raw_flags_that_the_release_would_refuse_or_drop(version: str, flags: dict[str, Any], error: str) -> None:
    """Found before anything runs: a flag that is gone, misspelt, of another type, set elsewhere, or without effect."""
    with pytest.raises(ConfigurationError, match=f"^{re.escape(error)}$"):
        plan(Build(quantization="int4_weight_only", build_flags=flags), version)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"max_seq_len": 4096}, "--max_seq_len 4096"),
        ({"strip_plan": True}, "--strip_plan"),
        ({"strip_plan": False}, ""),
        ({"lora_target_modules": ["attn_q", "attn_v"]}, "--lora_target_modules attn_q attn_v"),
        ({"gemm_plugin": "auto"}, ""),
    ],
)
def test_raw_flags_go_over_the_profile_s(flags: dict[str, Any], words: str) -> None:
    """In place where the profile has the flag, at the end where not."""
    command = shlex.join(plan(Build(build_flags=flags))[1].command)
    gemm = flags.get("gemm_plugin", "float16")
    assert command.endswith(f"--output_dir /engines/e/ --gemm_plugin {gemm} {words}".rstrip())


@pytest.mark.parametrize("text", ["0.15.0", "0.13.0", "0.20.0"])
def test_releases_between_the_known_ones_are_refused(text: str) -> None:
    """Their flags are another set again."""
    with pytest.raises(
        ConfigurationError, match=f"^TensorRT-LLM {re.escape(text)}: its build tools' flags are not known"
    ):
        release_of(text)


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^TensorRT-LLM version: got 'latest', expected one such as 0\.14\.0$"
    ):
        release_of("latest")


@pytest.mark.parametrize("build", [Build(smoke_run=False), Build(smoke_run=False, quantization="fp8")])
def test_a_model_that_was_not_tried_is_built_with_a_warning(build: Build) -> None:
    """Of either tool; of other models nothing is said."""
    told = plan(build, "1.2.1", replace(PLAIN, model_type="qwen3_moe"))[0].warnings
    assert told == (
        "model: qwen3_moe was not tried: no converter that knows its experts was run; compare the engine's answers with the "
        "checkpoint's",
    )
    assert plan(build, "1.2.1", replace(PLAIN, model_type="qwen3"))[0].warnings == ()
