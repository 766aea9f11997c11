"""Rules of what TensorRT-LLM's convert_checkpoint.py cannot do with a Qwen checkpoint, one for each way in which it fails.

The rules come from runs of upstream's own script on small checkpoints of every kind: tag v0.14.0, and a development version
of 0.17 of December 2024. At 0.14 a rule refuses, because the run would fail, or end well with weights that are wrong or
cannot be loaded. Later releases were not run, so what also failed at 0.17 is a warning there.

Knows no command line; quantize.py is another tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qwen_triton.errors import ConfigurationError

from ...deployment.build_section import Build
from ..tools.versions import Release, Version
from .checkpoint_facts import CheckpointFacts

OLD_LOADER = {"TRTLLM_DISABLE_UNIFIED_CONVERTER": "1"}
"""Environment in which 0.14 loads weights as its releases before 0.13 did."""
_RUN = Version(0, 14)
_BLOCK = 64
"""Columns of a matrix that weight-only kernels take at a time; narrower pieces are padded."""


@dataclass(frozen=True)
class QwenConversion:
    """A checkpoint and how it is to be converted. `old_loader`: in the environment OLD_LOADER."""

    build: Build
    model: CheckpointFacts
    old_loader: bool = False

    @property
    def smoothquant(self) -> bool:
        return self.build.quantization == "smoothquant"

    @property
    def calibrated(self) -> bool:
        return self.smoothquant or self.build.kv_cache == "int8"

    @property
    def weight_only(self) -> bool:
        return self.build.quantization in ("int8_weight_only", "int4_weight_only")

    @property
    def gptq(self) -> bool:
        return self.build.quantization == "int4_gptq" and self.model.quantized_by == "gptq"

    @property
    def plain(self) -> bool:
        return self.model.quantized_by is None

    @property
    def dense(self) -> bool:
        return self.model.model_type == "qwen2"

    @property
    def experts(self) -> bool:
        return self.model.model_type == "qwen2_moe"

    @property
    def too_few_kv_heads(self) -> bool:
        return self.model.kv_heads < self.build.tp

    @property
    def lacks_head(self) -> bool:
        """Whether the output layer is the embedding table and has no weights of its own in the files."""
        return self.model.tied and not self.model.has_lm_head

    @property
    def qkv_width(self) -> int:
        """Columns of q, k and v together, KV heads repeated until each rank has one."""
        head = self.model.hidden_size // self.model.heads
        return (self.model.heads + 2 * max(self.model.kv_heads, self.build.tp)) * head

    @property
    def group(self) -> int:
        """Rows that a piece of a GPTQ matrix must divide into, 0 where one group has a whole column."""
        size = self.model.group_size or 0
        return max(_BLOCK, size) if size > 0 else 0

    @property
    def cut_by_groups(self) -> bool:
        """Whether 4-bit GPTQ weights in groups are cut for GPUs that have a KV head each."""
        return self.gptq and self.model.bits == 4 and self.group > 0 and not self.too_few_kv_heads

    def flag(self, name: str) -> bool:
        """Whether a switch of the converter is among the deployment's raw flags."""
        return bool(self.build.convert_flags.get(name))

    def divides(self, width: int, unit: int = _BLOCK) -> bool:
        """Whether each rank's piece of `width` is a multiple of `unit`."""
        return width % (unit * self.build.tp) == 0

    @property
    def moe_ranks(self) -> int:
        """moe_tp_size × moe_ep_size as the converter takes them: what is not given is what is left of tp. 0 for one below 1."""
        tp, ep = (int(str(self.build.convert_flags.get(f"moe_{kind}_size", -1))) for kind in ("tp", "ep"))
        if tp == ep == -1:
            return self.build.tp
        if tp == -1:
            tp = self.build.tp // ep if ep else 0
        if ep == -1:
            ep = self.build.tp // tp if tp else 0
        return tp * ep if min(tp, ep) > 0 else 0


@dataclass(frozen=True)
class ConverterRule:
    """`holds` for a conversion that fails, at `key` of the deployment, with the reason and the way out.

    `old`: at 0.14; `later`: at the development version of 0.17 too. `certain`: false where it depends on the data.
    """

    name: str
    key: str
    holds: Callable[[QwenConversion], bool]
    reason: str
    old: bool = True
    later: bool = False
    certain: bool = True


_ROPE_SCALINGS = ("linear", "dynamic", "longrope", "llama3")
"""Types of `rope_scaling` that 0.14 looks up by name; it ends with a ValueError for any other."""
_SMALLER_TP = "give a smaller build.tp"
_PLAIN = "give the plain checkpoint, or build.quantization int8_weight_only"
RULES = (
    ConverterRule(
        "tied-without-lm_head",
        "model",
        lambda c: (
            c.lacks_head and c.dense and not c.calibrated and not c.old_loader and c.build.quantization != "int4_awq"
        ),
        "its output layer is tied to the embeddings and has no lm_head.weight, which the converter misses in GPTQ "
        "checkpoints; give one with lm_head.weight, or the plain checkpoint",
    ),
    ConverterRule(
        "tp-over-kv-heads",
        "build.tp",
        lambda c: c.too_few_kv_heads and c.plain and not c.calibrated,
        f"there are fewer KV heads than GPUs, and the converter cannot repeat them; {_SMALLER_TP}, at most the KV heads",
    ),
    ConverterRule(
        "tp-over-kv-heads-int8-kv",
        "build.tp",
        lambda c: c.too_few_kv_heads and c.calibrated and not c.smoothquant,
        "with an INT8 KV cache the converter fails after calibration where there are fewer KV heads than GPUs; "
        f"{_SMALLER_TP}, or no build.kv_cache",
    ),
    ConverterRule(
        "tp-over-kv-heads-smoothquant",
        "build.tp",
        lambda c: c.too_few_kv_heads and c.smoothquant,
        f"SmoothQuant with fewer KV heads than GPUs cannot be loaded; {_SMALLER_TP}",
        later=True,
    ),
    ConverterRule(
        "tp-over-kv-heads-gptq",
        "build.tp",
        lambda c: c.too_few_kv_heads and c.gptq,
        f"GPTQ weights cannot be cut where there are fewer KV heads than GPUs; {_SMALLER_TP}",
        later=True,
    ),
    ConverterRule(
        "tp-over-kv-heads-awq",
        "build.tp",
        lambda c: c.too_few_kv_heads and c.build.quantization == "int4_awq" and c.build.tp > 1,
        f"AWQ weights cannot be cut where there are fewer KV heads than GPUs; {_SMALLER_TP}",
        later=True,
    ),
    ConverterRule(
        "smoothquant-gqa-tp",
        "build.tp",
        lambda c: (
            c.smoothquant and c.build.tp > 1 and c.build.tp <= c.model.kv_heads != c.model.heads and not c.experts
        ),
        "SmoothQuant of a model with grouped KV heads fails after calibration on several GPUs; give tp 1, or another "
        "build.quantization",
    ),
    ConverterRule(
        "smoothquant-mha-tp",
        "build.tp",
        lambda c: (
            c.smoothquant
            and c.build.tp > 1
            and c.model.kv_heads == c.model.heads
            and c.model.intermediate_size != c.model.hidden_size
            and not c.experts
        ),
        "SmoothQuant on several GPUs writes matrices of a shape that cannot be loaded; give tp 1, or another "
        "build.quantization",
    ),
    ConverterRule(
        "smoothquant-moe",
        "build.quantization",
        lambda c: c.smoothquant and c.experts,
        "SmoothQuant does not know experts; give int8_weight_only or int4_weight_only",
        later=True,
    ),
    ConverterRule(
        "int8-kv-moe",
        "build.kv_cache",
        lambda c: c.build.kv_cache == "int8" and c.experts and not c.smoothquant,
        "calibration ends in an error where an expert gets no token of a sample; give another build.calib_dataset if it "
        "does, or no kv_cache",
        later=True,
        certain=False,
    ),
    ConverterRule(
        "embedding-sharing",
        "build.convert_flags.use_embedding_sharing",
        lambda c: c.flag("use_embedding_sharing") and not c.calibrated and not c.old_loader,
        "ends the converter with a TypeError; leave it out",
    ),
    ConverterRule(
        "embedding-sharing-pp",
        "build.convert_flags.use_embedding_sharing",
        lambda c: c.flag("use_embedding_sharing") and c.build.pp > 1,
        "the table cannot be shared by stages of a pipeline; leave it out, or give pp 1",
    ),
    ConverterRule(
        "embedding-sharing-tp",
        "build.convert_flags.use_embedding_sharing",
        lambda c: c.flag("use_embedding_sharing") and c.build.tp > 1 and not c.flag("use_parallel_embedding"),
        "needs use_parallel_embedding on several GPUs; give both",
    ),
    ConverterRule(
        "yarn",
        "model",
        lambda c: c.model.rope_scaling not in (None, *_ROPE_SCALINGS),
        "config.json has rope_scaling of type yarn, or another but "
        f"{', '.join(_ROPE_SCALINGS)}, which no engine of this release can have; remove it from config.json, and keep "
        "build_flags.max_seq_len within the length without it",
    ),
    ConverterRule(
        "intermediate-tp",
        "build.tp",
        lambda c: c.dense and c.model.intermediate_size % c.build.tp != 0,
        f"the intermediate size does not divide by tp; {_SMALLER_TP}",
        later=True,
    ),
    ConverterRule(
        "weight-only-qkv-padded",
        "build.tp",
        lambda c: (
            c.weight_only
            and not c.calibrated
            and not c.old_loader
            and c.plain
            and c.dense
            and not c.divides(c.qkv_width)
        ),
        "the width of q, k and v together is no multiple of 64 × tp, as weight-only kernels need it; give another tp, or "
        "quantization none",
        later=True,
    ),
    ConverterRule(
        "weight-only-mlp-piece-empty",
        "build.tp",
        lambda c: c.weight_only and not c.calibrated and not c.old_loader and c.dense and _last_piece_empty(c),
        "the intermediate size, rounded up to 64 × tp, leaves the last GPU without a piece; give another tp, or quantization "
        "none",
        later=True,
    ),
    ConverterRule(
        "weight-only-int8-kv-padded",
        "build.tp",
        lambda c: (
            c.weight_only
            and c.build.kv_cache == "int8"
            and c.dense
            and not all(map(c.divides, (c.qkv_width, c.model.hidden_size, c.model.intermediate_size)))
        ),
        "weight-only with an INT8 KV cache needs hidden size, intermediate size and the width of q, k and v to be multiples "
        "of 64 × tp; the files could not be loaded; give another tp, or no build.kv_cache",
        later=True,
    ),
    ConverterRule(
        "gptq-hidden",
        "build.tp",
        lambda c: c.cut_by_groups and not (c.divides(c.model.hidden_size, c.group) and c.divides(c.qkv_width, c.group)),
        "hidden size and width of q, k and v must be multiples of the group size (64 at least) × tp; " + _PLAIN,
        later=True,
    ),
    ConverterRule(
        "gptq-intermediate",
        "build.tp",
        lambda c: c.cut_by_groups and c.build.tp > 1 and not c.divides(c.model.intermediate_size, c.group),
        "the intermediate size is no multiple of the group size (64 at least) × tp, and the weights would be wrong; "
        + _SMALLER_TP,
        later=True,
    ),
    ConverterRule(
        "gptq-bfloat16-bias",
        "build.dtype",
        lambda c: c.gptq and c.build.dtype == "bfloat16",
        "biases of a GPTQ checkpoint stay float16 and would be read as bfloat16; give float16",
    ),
    ConverterRule(
        "gptq-float32",
        "build.dtype",
        lambda c: c.gptq and c.build.dtype == "float32",
        "half of each GPTQ weight would be zeros, without a word; give float16",
        later=True,
    ),
    ConverterRule(
        "gptq-one-group",
        "model",
        lambda c: c.gptq and c.model.group_size == -1,
        "its GPTQ weights have one group a column (group_size -1); give one with groups of 128",
        later=True,
    ),
    ConverterRule(
        "gptq-asymmetric",
        "model",
        lambda c: c.gptq and c.model.bits == 4 and (c.model.group_size or 0) > 0 and not c.model.symmetric,
        "its GPTQ weights have sym false, and came out wrong; give one with sym true",
        old=False,
        later=True,
    ),
    ConverterRule(
        "vocabulary-tp-bfloat16",
        "build.dtype",
        lambda c: (
            c.model.vocab_size % c.build.tp != 0 and c.build.dtype == "bfloat16" and (c.calibrated or c.old_loader)
        ),
        "a vocabulary that does not divide by tp is padded by a function that knows no bfloat16; give float16, or another tp",
        later=True,
    ),
    ConverterRule(
        "slow-tokenizer-files",
        "model",
        lambda c: c.calibrated and not c.model.has_slow_tokenizer,
        "calibration needs vocab.json and merges.txt beside tokenizer.json; fetch the checkpoint whole",
        later=True,
    ),
    ConverterRule(
        "generation_config",
        "model",
        lambda c: c.calibrated and not c.model.has_generation_config,
        "calibration needs generation_config.json; fetch the checkpoint whole",
        later=True,
    ),
    ConverterRule(
        "moe-sizes",
        "build.convert_flags",
        lambda c: c.moe_ranks != c.build.tp,
        "moe_tp_size × moe_ep_size must be build.tp, also of a model without experts; give one of the two, or none",
        later=True,
    ),
    ConverterRule(
        "qwen1-pp",
        "build.pp",
        lambda c: c.model.model_type == "qwen" and c.build.pp > 1,
        "later stages got the layers of the first; compare the engine's answers, or give tp in place of pp",
        old=False,
        later=True,
    ),
    ConverterRule(
        "variable-weight-only-plugin",
        "build.convert_flags.disable_weight_only_quant_plugin",
        lambda c: c.old_loader and c.weight_only and c.flag("disable_weight_only_quant_plugin"),
        "weights of a checkpoint with tied embeddings could not be loaded; leave it out",
    ),
)


def _last_piece_empty(c: QwenConversion) -> bool:
    block, size = _BLOCK * c.build.tp, c.model.intermediate_size
    return -(-size // block) * block * (c.build.tp - 1) // c.build.tp >= size


def needs_old_loader(build: Build, model: CheckpointFacts, release: Release) -> bool:
    """Whether the converter gets the environment OLD_LOADER: 0.14 finds no output layer in tied plain weights otherwise."""
    plan = QwenConversion(build, model)
    return release.version == _RUN and plan.plain and plan.dense and plan.lacks_head and not plan.calibrated


def check_conversion(build: Build, model: CheckpointFacts, release: Release) -> list[str]:
    """Warnings about a conversion by convert_checkpoint.py, «key: reason».

    Raises ConfigurationError, a line for each rule, for one that the release cannot do.
    """
    plan = QwenConversion(build, model, needs_old_loader(build, model, release))
    broken = [rule for rule in RULES if rule.holds(plan)]
    if release.version == _RUN:
        faults = [f"{rule.key}: {rule.reason}" for rule in broken if rule.old and rule.certain]
        if faults:
            raise ConfigurationError("\n".join(f"{fault} (TensorRT-LLM {release.version})" for fault in faults))
    return list(_warnings(broken, release))


def _warnings(broken: list[ConverterRule], release: Release) -> Iterator[str]:
    for rule in broken:
        if release.version == _RUN and rule.old and not rule.certain:
            yield f"{rule.key}: {rule.reason}"
        elif release.version > _RUN and rule.later:
            yield f"{rule.key}: {rule.reason} (seen at 0.17; {release.version} was not tried)"
