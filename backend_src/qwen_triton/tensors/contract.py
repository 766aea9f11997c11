"""The names on the wire: every tensor of the five models, in one place. Stock names first, then ours, all optional.

Stock tensors are those of tensorrtllm_backend v0.14.0's `inflight_batcher_llm`; `tests/test_contract.py` compares.
Nothing else in the project spells a tensor's name twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..types import SAMPLING, SamplingParameter

PREPROCESSING = "preprocessing"
TENSORRT_LLM = "tensorrt_llm"
POSTPROCESSING = "postprocessing"
BLS = "tensorrt_llm_bls"
ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model: `dims` without the batch dimension, -1 for any length; `dtype` as in config.pbtxt."""

    name: str
    dtype: str
    dims: tuple[int, ...] = (1,)
    optional: bool = False
    reshape: tuple[int, ...] | None = None


def _optional(dtype: str, *names: str, dims: tuple[int, ...] = (1,)) -> tuple[Tensor, ...]:
    return tuple(Tensor(n, dtype, dims, True) for n in names)


def _scalars(dtype: str, *names: str) -> tuple[Tensor, ...]:
    """Inputs of the engine model, which Triton hands over without their last dimension (reshape: [])."""
    return tuple(Tensor(n, dtype, (1,), True, ()) for n in names)


STRING, INT32, INT64, UINT64, FP32, FP16, BOOL = (
    f"TYPE_{t}" for t in ("STRING", "INT32", "INT64", "UINT64", "FP32", "FP16", "BOOL")
)


def _dtype(parameter: SamplingParameter) -> str:
    if parameter.kind is float:
        return FP32
    return INT32 if parameter.high < 2**31 else UINT64


def _stock_names(parameter: SamplingParameter) -> tuple[str, ...]:
    return parameter.tensors[-1:] if parameter.stock else ()


def _added_names(parameter: SamplingParameter) -> tuple[str, ...]:
    return parameter.tensors[:-1] if parameter.stock else parameter.tensors


_SHARED = tuple(p for p in SAMPLING if p.engine_tensors)
"""The sampling parameters of all text models; the others need a model that sees the request from end to end."""

SAMPLING_INPUTS = (
    *(tensor for p in _SHARED for tensor in _optional(_dtype(p), *_stock_names(p))),
    *_optional(INT32, "end_id", "pad_id"),
    *_optional(BOOL, "return_log_probs", "return_context_logits", "return_generation_logits", "stream"),
)
WORD_INPUTS = (
    *_optional(STRING, "bad_words", "stop_words", "embedding_bias_words", dims=(-1,)),
    *_optional(FP32, "embedding_bias_weights", dims=(-1,)),
)
PROMPT_TABLE_INPUTS = (
    Tensor("prompt_embedding_table", FP16, (-1, -1), True),
    *_optional(INT32, "prompt_vocab_size"),
    *_optional(UINT64, "prompt_table_extra_id"),
)
CHAT_INPUTS = _optional(STRING, "messages", "tools", "chat_template_kwargs", "prompt_format")
"""JSON strings, but for `prompt_format`: «raw» or «chat»."""

ADDED_INPUTS = (
    *CHAT_INPUTS,
    *(tensor for p in _SHARED for tensor in _optional(_dtype(p), *_added_names(p))),
    *_optional(INT32, "top_logprobs"),
    *_optional(INT32, "stop_token_ids", dims=(-1,)),
    *_optional(BOOL, "ignore_eos", "include_stop_str_in_output", "exclude_input_in_output"),
    *_optional(BOOL, "return_num_input_tokens", "return_num_output_tokens"),
)
BLS_ONLY_INPUTS = (
    *_optional(INT32, "input_ids", dims=(-1,)),
    *(tensor for p in SAMPLING if p not in _SHARED for tensor in _optional(_dtype(p), *p.tensors)),
    *_optional(BOOL, "accumulate_tokens"),
    *_optional(STRING, "logit_bias"),
)
"""What only a model that sees the request from end to end can do: prompts as ids, picking the best, whole text so far."""

ANSWER_OUTPUTS = (
    Tensor("text_output", STRING, (-1,)),
    Tensor("cum_log_probs", FP32, (-1,)),
    Tensor("output_log_probs", FP32, (-1, -1)),
    Tensor("context_logits", FP32, (-1, -1)),
    Tensor("generation_logits", FP32, (-1, -1, -1)),
    Tensor("batch_index", INT32),
    Tensor("sequence_index", INT32),
)
USAGE_OUTPUTS = (
    Tensor("num_input_tokens", INT32),
    Tensor("num_output_tokens", INT32, (-1,)),
    Tensor("num_cached_tokens", INT32),
    Tensor("finish_reason", STRING, (-1,)),
)
BLS_ONLY_OUTPUTS = (
    Tensor("stop_reason", STRING, (-1,)),
    Tensor("logprobs", STRING, (-1,)),
    Tensor("reasoning_opened", BOOL),
)
"""JSON strings: the stop string or token id that matched (null for none); OpenAI's logprobs content, one per token.
Whether a chat prompt ended within a <think> block; of a stream the first piece has it, and only when it is so."""

_TEXT_INPUTS = (
    Tensor("text_input", STRING, optional=True),
    Tensor("decoder_text_input", STRING, optional=True),
    *SAMPLING_INPUTS,
    *WORD_INPUTS,
    *PROMPT_TABLE_INPUTS,
)

ENSEMBLE_INPUTS = (*_TEXT_INPUTS, *ADDED_INPUTS)
ENSEMBLE_OUTPUTS = (*ANSWER_OUTPUTS, *USAGE_OUTPUTS)

_BLS_RESHAPED = ("return_log_probs", "return_context_logits", "return_generation_logits", "num_return_sequences")


def _bls(tensor: Tensor) -> Tensor:
    reshape = () if tensor.name in _BLS_RESHAPED else None
    return Tensor(tensor.name, tensor.dtype, tensor.dims, tensor.optional, reshape)


BLS_INPUTS = (
    *(_bls(t) for t in _TEXT_INPUTS),
    Tensor("image_input", FP16, (3, -1, -1), True),
    *_optional(INT32, "num_draft_tokens"),
    *_scalars(BOOL, "use_draft_logits"),
    *ADDED_INPUTS,
    *BLS_ONLY_INPUTS,
)
BLS_OUTPUTS = (*ANSWER_OUTPUTS, *USAGE_OUTPUTS, *BLS_ONLY_OUTPUTS)

PREPROCESSING_INPUTS = (
    Tensor("QUERY", STRING, optional=True),
    Tensor("DECODER_QUERY", STRING, optional=True),
    Tensor("REQUEST_OUTPUT_LEN", INT32, optional=True),
    *_optional(STRING, "BAD_WORDS_DICT", "STOP_WORDS_DICT", "EMBEDDING_BIAS_WORDS", dims=(-1,)),
    *_optional(FP32, "EMBEDDING_BIAS_WEIGHTS", dims=(-1,)),
    *_optional(INT32, "END_ID", "PAD_ID"),
    *_optional(UINT64, "PROMPT_TABLE_EXTRA_ID"),
    *_optional(STRING, "MESSAGES", "TOOLS", "CHAT_TEMPLATE_KWARGS", "PROMPT_FORMAT"),
    *_optional(INT32, "STOP_TOKEN_IDS", dims=(-1,)),
    *_optional(BOOL, "IGNORE_EOS"),
)
TEXT_NAMES = {t.name: t.name.lower() for t in PREPROCESSING_INPUTS} | {
    "QUERY": "text_input",
    "DECODER_QUERY": "decoder_text_input",
    "REQUEST_OUTPUT_LEN": "max_tokens",
    "BAD_WORDS_DICT": "bad_words",
    "STOP_WORDS_DICT": "stop_words",
}
"""What the text models call the inputs of preprocessing: callers of the ensemble know only these names."""

PREPROCESSING_OUTPUTS = (
    Tensor("INPUT_ID", INT32, (-1,)),
    Tensor("REQUEST_INPUT_LEN", INT32),
    Tensor("DECODER_INPUT_ID", INT32, (-1,)),
    Tensor("REQUEST_DECODER_INPUT_LEN", INT32),
    Tensor("BAD_WORDS_IDS", INT32, (2, -1)),
    Tensor("STOP_WORDS_IDS", INT32, (2, -1)),
    Tensor("EMBEDDING_BIAS", FP32, (-1,)),
    Tensor("REQUEST_OUTPUT_LEN", INT32, (-1,)),
    Tensor("OUT_END_ID", INT32),
    Tensor("OUT_PAD_ID", INT32),
    Tensor("OUT_PROMPT_TABLE_EXTRA_IDS", UINT64, (-1,)),
    Tensor("STOP_WORDS", STRING, (-1,)),
)

POSTPROCESSING_INPUTS = (Tensor("TOKENS_BATCH", INT32, (-1, -1)), Tensor("SEQUENCE_LENGTH", INT32, (-1,)))
POSTPROCESSING_OUTPUTS = (Tensor("OUTPUT", STRING, (-1,)),)

ENGINE_INPUTS = (
    Tensor("input_ids", INT32, (-1,)),
    Tensor("input_lengths", INT32, reshape=()),
    Tensor("request_output_len", INT32, reshape=()),
    *(tensor for p in _SHARED for tensor in _scalars(_dtype(p), *p.engine_tensors) if p.name != "max_tokens"),
    *_optional(INT32, "draft_input_ids", "decoder_input_ids", dims=(-1,)),
    *_scalars(INT32, "decoder_input_lengths"),
    *_optional(FP32, "draft_logits", dims=(-1, -1)),
    *_scalars(FP32, "draft_acceptance_threshold"),
    *_scalars(INT32, "end_id", "pad_id"),
    *_optional(INT32, "stop_words_list", "bad_words_list", dims=(2, -1)),
    *_optional(FP32, "embedding_bias", dims=(-1,)),
    *_scalars(FP32, "runtime_top_p_min", "runtime_top_p_decay", "beam_search_diversity_rate"),
    *_scalars(INT32, "runtime_top_p_reset_ids"),
    *_scalars(BOOL, "early_stopping"),
    *_scalars(BOOL, "return_log_probs", "return_context_logits", "return_generation_logits"),
    *_scalars(BOOL, "exclude_input_in_output", "stop", "streaming"),
    *_optional(FP16, "prompt_embedding_table", dims=(-1, -1)),
    *_optional(UINT64, "prompt_table_extra_ids", dims=(-1,)),
    *_scalars(INT32, "prompt_vocab_size"),
    *_scalars(UINT64, "lora_task_id"),
    *_optional(FP16, "lora_weights", dims=(-1, -1)),
    *_optional(INT32, "lora_config", dims=(-1, 3)),
    *_optional("TYPE_UINT8", "context_phase_params", dims=(-1,)),
    *_scalars(INT32, "top_logprobs"),
    *_scalars(BOOL, "include_stop_str_in_output", "return_num_input_tokens", "return_num_output_tokens"),
    *_optional(STRING, "stop_words", dims=(-1,)),
)
ENGINE_OUTPUTS = (
    Tensor("output_ids", INT32, (-1, -1)),
    Tensor("sequence_length", INT32, (-1,)),
    Tensor("cum_log_probs", FP32, (-1,)),
    Tensor("output_log_probs", FP32, (-1, -1)),
    Tensor("context_logits", FP32, (-1, -1)),
    Tensor("generation_logits", FP32, (-1, -1, -1)),
    Tensor("batch_index", INT32),
    Tensor("sequence_index", INT32),
    Tensor("context_phase_params", "TYPE_UINT8", (-1,)),
    *USAGE_OUTPUTS,
)

INPUTS = {
    PREPROCESSING: PREPROCESSING_INPUTS,
    TENSORRT_LLM: ENGINE_INPUTS,
    POSTPROCESSING: POSTPROCESSING_INPUTS,
    BLS: BLS_INPUTS,
    ENSEMBLE: ENSEMBLE_INPUTS,
}
OUTPUTS = {
    PREPROCESSING: PREPROCESSING_OUTPUTS,
    TENSORRT_LLM: ENGINE_OUTPUTS,
    POSTPROCESSING: POSTPROCESSING_OUTPUTS,
    BLS: BLS_OUTPUTS,
    ENSEMBLE: ENSEMBLE_OUTPUTS,
}
NOW_OPTIONAL = {
    PREPROCESSING: {"QUERY", "REQUEST_OUTPUT_LEN"},
    BLS: {"text_input", "max_tokens"},
    ENSEMBLE: {"text_input", "max_tokens"},
}
"""Stock's required inputs that may be left out here: `messages` can stand for the text, the context bounds the length."""
