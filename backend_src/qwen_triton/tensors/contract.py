"""Contract of the five models: the name, type and shape of every tensor. Stock's come first, then ours, all optional.

Stock's are those of tensorrtllm_backend v0.14.0's `inflight_batcher_llm`; tests/core/tensors/test_contract.py compares them,
and the models' config.pbtxt, with this file. Tensors of sampling parameters are made from types.SAMPLING; no other module
spells a tensor's name. Knows no arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..types import GUIDED_DECODING_GUIDE as GUIDED_DECODING_GUIDE
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


def _optional(dtype: str, *names: str, dims: tuple[int, ...] = (1,)) -> tuple[Tensor, ...]:
    return tuple(Tensor(n, dtype, dims, True) for n in names)


# Names that codecs read or write. The constant of a tensor is its name in capitals; those of preprocessing and postprocessing,
# which are capitals on the wire, begin with PRE_ and POST_.

# Inputs of the text models.
TEXT_INPUT = "text_input"
PROMPT = "prompt"
MESSAGES = "messages"
TOOLS = "tools"
TOOL_CHOICE = "tool_choice"
CHAT_TEMPLATE_KWARGS = "chat_template_kwargs"
PROMPT_FORMAT = "prompt_format"
STOP_WORDS = "stop_words"
STOP_TOKEN_IDS = "stop_token_ids"
INCLUDE_STOP_STR_IN_OUTPUT = "include_stop_str_in_output"
IGNORE_EOS = "ignore_eos"
BAD_WORDS = "bad_words"
EMBEDDING_BIAS_WORDS = "embedding_bias_words"
EMBEDDING_BIAS_WEIGHTS = "embedding_bias_weights"
LOGIT_BIAS = "logit_bias"
END_ID = "end_id"
PAD_ID = "pad_id"
STREAM = "stream"
BEAM_WIDTH = "beam_width"
RETURN_LOG_PROBS = "return_log_probs"
TOP_LOGPROBS = "top_logprobs"
RETURN_NUM_INPUT_TOKENS = "return_num_input_tokens"
RETURN_NUM_OUTPUT_TOKENS = "return_num_output_tokens"
ACCUMULATE_TOKENS = "accumulate_tokens"
CLAMP_MAX_TOKENS = "clamp_max_tokens"
PARALLEL_TOOL_CALLS = "parallel_tool_calls"
GUIDED_DECODING_GUIDE_TYPE = "guided_decoding_guide_type"
RETURN_TOKEN_IDS = "return_token_ids"
EXCLUDE_INPUT_IN_OUTPUT = "exclude_input_in_output"
LORA_NAME = "lora_name"
LORA_TASK_ID = "lora_task_id"
LORA_WEIGHTS = "lora_weights"
LORA_CONFIG = "lora_config"
RETURN_PERF_METRICS = "return_perf_metrics"

# Names of sampling parameters in types.SAMPLING that other modules need.
MIN_LENGTH = "min_length"
RANDOM_SEED = "random_seed"
NUM_RETURN_SEQUENCES = "num_return_sequences"
PROMPT_LOGPROBS = "prompt_logprobs"
"""The BLS's output of this name is JSON, as `logprobs` is."""

# Inputs of the engine model.
INPUT_IDS = "input_ids"
INPUT_LENGTHS = "input_lengths"
REQUEST_OUTPUT_LEN = "request_output_len"
STREAMING = "streaming"
STOP = "stop"
STOP_WORDS_LIST = "stop_words_list"
BAD_WORDS_LIST = "bad_words_list"
EMBEDDING_BIAS = "embedding_bias"

# Outputs of either.
TEXT_OUTPUT = "text_output"
OUTPUT_IDS = "output_ids"
SEQUENCE_LENGTH = "sequence_length"
CUM_LOG_PROBS = "cum_log_probs"
OUTPUT_LOG_PROBS = "output_log_probs"
BATCH_INDEX = "batch_index"
SEQUENCE_INDEX = "sequence_index"
NUM_INPUT_TOKENS = "num_input_tokens"
NUM_OUTPUT_TOKENS = "num_output_tokens"
NUM_CACHED_TOKENS = "num_cached_tokens"
NUM_REASONING_TOKENS = "num_reasoning_tokens"
FINISH_REASON = "finish_reason"
STOP_REASON = "stop_reason"
LOGPROBS = "logprobs"
OUTPUT_TOP_TOKEN_IDS = "output_top_token_ids"
OUTPUT_TOP_LOG_PROBS = "output_top_log_probs"
PROMPT_LOG_PROBS = "prompt_log_probs"
PROMPT_TOP_TOKEN_IDS = "prompt_top_token_ids"
PROMPT_TOP_LOG_PROBS = "prompt_top_log_probs"
CONTEXT_PHASE_PARAMS = "context_phase_params"
REASONING_OPENED = "reasoning_opened"
PROMPT_IDS = "prompt_ids"
ANSWER_IDS = "answer_ids"
TOOL_FORMAT = "tool_format"

# Preprocessing and postprocessing.
PRE_QUERY = "QUERY"
PRE_REQUEST_OUTPUT_LEN = "REQUEST_OUTPUT_LEN"
PRE_PROMPT = "PROMPT"
PRE_MESSAGES = "MESSAGES"
PRE_TOOLS = "TOOLS"
PRE_TOOL_CHOICE = "TOOL_CHOICE"
PRE_CHAT_TEMPLATE_KWARGS = "CHAT_TEMPLATE_KWARGS"
PRE_PROMPT_FORMAT = "PROMPT_FORMAT"
PRE_INPUT_ID = "INPUT_ID"
PRE_REQUEST_INPUT_LEN = "REQUEST_INPUT_LEN"
PRE_DECODER_INPUT_ID = "DECODER_INPUT_ID"
PRE_REQUEST_DECODER_INPUT_LEN = "REQUEST_DECODER_INPUT_LEN"
PRE_BAD_WORDS_IDS = "BAD_WORDS_IDS"
PRE_STOP_WORDS_IDS = "STOP_WORDS_IDS"
PRE_EMBEDDING_BIAS = "EMBEDDING_BIAS"
PRE_OUT_END_ID = "OUT_END_ID"
PRE_OUT_PAD_ID = "OUT_PAD_ID"
PRE_OUT_PROMPT_TABLE_EXTRA_IDS = "OUT_PROMPT_TABLE_EXTRA_IDS"
PRE_STOP_WORDS = "STOP_WORDS"
POST_TOKENS_BATCH = "TOKENS_BATCH"
POST_SEQUENCE_LENGTH = "SEQUENCE_LENGTH"
POST_OUTPUT = "OUTPUT"

STRING, UINT8, INT32, INT64, UINT64, FP32, FP16, BOOL = (
    f"TYPE_{t}" for t in ("STRING", "UINT8", "INT32", "INT64", "UINT64", "FP32", "FP16", "BOOL")
)


def _dtype(parameter: SamplingParameter) -> str:
    if parameter.kind is float:
        return FP32
    return INT32 if parameter.high < 2**31 else UINT64


def _added_names(parameter: SamplingParameter) -> tuple[str, ...]:
    """The text models' names of a sampling parameter that stock does not have."""
    return parameter.tensors[:-1] if parameter.stock else parameter.tensors


_SHARED = tuple(p for p in SAMPLING if p.engine_tensors)
"""The sampling parameters of all text models; the others need a model that sees the request from end to end."""
_STOCK_SAMPLING = tuple(t for p in _SHARED if p.stock for t in _optional(_dtype(p), p.tensors[-1]))
_ADDED_SAMPLING = tuple(t for p in _SHARED for t in _optional(_dtype(p), *_added_names(p)))
_BLS_ONLY_SAMPLING = tuple(t for p in SAMPLING if p not in _SHARED for t in _optional(_dtype(p), *p.tensors))
_ENGINE_SAMPLING = tuple(
    t for p in _SHARED for t in _optional(_dtype(p), *p.engine_tensors) if t.name != REQUEST_OUTPUT_LEN
)
"""Without the length, which the engine model requires."""

SAMPLING_INPUTS = (
    *_STOCK_SAMPLING,
    *_optional(INT32, END_ID, PAD_ID),
    *_optional(BOOL, RETURN_LOG_PROBS, "return_context_logits", "return_generation_logits", STREAM),
)
WORD_INPUTS = (
    *_optional(STRING, BAD_WORDS, STOP_WORDS, EMBEDDING_BIAS_WORDS, dims=(-1,)),
    *_optional(FP32, EMBEDDING_BIAS_WEIGHTS, dims=(-1,)),
)
PROMPT_TABLE_INPUTS = (
    Tensor("prompt_embedding_table", FP16, (-1, -1), True),
    *_optional(INT32, "prompt_vocab_size"),
    *_optional(UINT64, "prompt_table_extra_id"),
)
CHAT_INPUTS = _optional(STRING, MESSAGES, TOOLS, TOOL_CHOICE, CHAT_TEMPLATE_KWARGS, PROMPT_FORMAT)
"""Texts of JSON, except `prompt_format`, which is «raw» or «chat», and `tool_choice` where it is a word."""

LORA_INPUTS = (
    *_optional(UINT64, LORA_TASK_ID),
    Tensor(LORA_WEIGHTS, FP16, (-1, -1), True),
    Tensor(LORA_CONFIG, INT32, (-1, 3), True),
)
"""Adapters of NVIDIA's backend: weights and config [modules, …] with the first request of a task, then the id alone."""
PERF_METRICS = (
    *(Tensor(n, INT32) for n in ("kv_cache_alloc_new_blocks", "kv_cache_reused_blocks", "kv_cache_alloc_total_blocks")),
    *(
        Tensor(n, INT64)
        for n in ("arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns", "last_token_time_ns")
    ),
    Tensor("acceptance_rate", FP32),
    *(Tensor(n, INT32) for n in ("total_accepted_draft_tokens", "total_draft_tokens")),
)
"""Outputs of NVIDIA's backend since TensorRT-LLM 0.19, where a request has `return_perf_metrics`. They are declared in the
overlays of those releases alone."""
IMAGE_INPUTS = (
    Tensor("image_input", FP16, (3, -1, -1), True),
    *_optional(UINT8, "image_bytes_input", "video_bytes_input", dims=(-1, -1, -1, -1)),
    *_optional(STRING, "image_url_input"),
    *_optional(INT64, "image_sizes_input", dims=(-1, 2)),
)
"""Declared to be refused; stock has all but the first since TensorRT-LLM 0.16, the sizes since 1.0."""

GUIDE_INPUTS = _optional(STRING, GUIDED_DECODING_GUIDE_TYPE, GUIDED_DECODING_GUIDE)
"""The form of an answer; stock's since tensorrtllm_backend v0.19."""
FORM_INPUTS = (GUIDED_DECODING_GUIDE_TYPE, TOOLS)
"""Inputs of a request that may have a form compiled."""

ADDED_INPUTS = (
    *CHAT_INPUTS,
    *_optional(STRING, PROMPT),
    *_ADDED_SAMPLING,
    *_optional(INT32, TOP_LOGPROBS),
    *_optional(STRING, LORA_NAME),
    *_optional(INT32, STOP_TOKEN_IDS, dims=(-1,)),
    *_optional(BOOL, IGNORE_EOS, INCLUDE_STOP_STR_IN_OUTPUT, EXCLUDE_INPUT_IN_OUTPUT),
    *_optional(BOOL, RETURN_NUM_INPUT_TOKENS, RETURN_NUM_OUTPUT_TOKENS),
    *GUIDE_INPUTS,
)
BLS_ONLY_INPUTS = (
    *_optional(INT32, INPUT_IDS, dims=(-1,)),
    *_BLS_ONLY_SAMPLING,
    *_optional(BOOL, ACCUMULATE_TOKENS, PARALLEL_TOOL_CALLS, RETURN_TOKEN_IDS, CLAMP_MAX_TOKENS),
    *_optional(STRING, LOGIT_BIAS),
)
"""Inputs that need a model that sees a request from end to end: a prompt of ids, the best of several, accumulated text, the
end of a tool call."""

ANSWER_OUTPUTS = (
    Tensor(TEXT_OUTPUT, STRING, (-1,)),
    Tensor(CUM_LOG_PROBS, FP32, (-1,)),
    Tensor(OUTPUT_LOG_PROBS, FP32, (-1, -1)),
    Tensor("context_logits", FP32, (-1, -1)),
    Tensor("generation_logits", FP32, (-1, -1, -1)),
    Tensor(BATCH_INDEX, INT32),
    Tensor(SEQUENCE_INDEX, INT32),
)
USAGE_OUTPUTS = (
    Tensor(NUM_INPUT_TOKENS, INT32),
    Tensor(NUM_OUTPUT_TOKENS, INT32, (-1,)),
    Tensor(NUM_CACHED_TOKENS, INT32),
    Tensor(FINISH_REASON, STRING, (-1,)),
)
_PROMPT_LOG_PROBS = Tensor(PROMPT_LOG_PROBS, FP32, (-1,))
TOP_OUTPUTS = (
    Tensor(OUTPUT_TOP_TOKEN_IDS, INT32, (-1, -1, -1)),
    Tensor(OUTPUT_TOP_LOG_PROBS, FP32, (-1, -1, -1)),
    _PROMPT_LOG_PROBS,
    Tensor(PROMPT_TOP_TOKEN_IDS, INT32, (-1, -1)),
    Tensor(PROMPT_TOP_LOG_PROBS, FP32, (-1, -1)),
)
"""Log probs beyond those of the generated tokens, where a request asks for them: [sequences, tokens, N] and [tokens of the
prompt, N]. The prompt's first token has none: 0, and -1 for an id. The BLS has its JSON instead."""
BLS_ONLY_OUTPUTS = (
    Tensor(STOP_REASON, STRING, (-1,)),
    Tensor(NUM_REASONING_TOKENS, INT32, (-1,)),
    Tensor(LOGPROBS, STRING, (-1,)),
    _PROMPT_LOG_PROBS,
    Tensor(PROMPT_LOGPROBS, STRING),
    Tensor(REASONING_OPENED, BOOL),
    Tensor(PROMPT_IDS, STRING),
    Tensor(ANSWER_IDS, STRING, (-1,)),
    Tensor(TOOL_FORMAT, STRING),
)
"""`stop_reason`: JSON of the stop string or token id that matched, null for none. `logprobs`: JSON of OpenAI's
`logprobs.content`. `prompt_logprobs`: the same of the prompt, with ids; the first token's `logprob` is null; in a stream only
the first piece has it. `reasoning_opened`: the chat prompt ended within a <think> block; in a stream only the first piece has
the output, and only if it is true. `prompt_ids` and `answer_ids`: JSON lists of token ids; of a prompt as its log probs.
`tool_format`: the name of the format of the answer's tool calls; only of a chat with tools, in a stream of the first piece."""

_TEXT_INPUTS = (
    Tensor(TEXT_INPUT, STRING, optional=True),
    Tensor("decoder_text_input", STRING, optional=True),
    *SAMPLING_INPUTS,
    *WORD_INPUTS,
    *PROMPT_TABLE_INPUTS,
)

ENSEMBLE_INPUTS = (*_TEXT_INPUTS, *ADDED_INPUTS)
ENSEMBLE_OUTPUTS = (*ANSWER_OUTPUTS, *USAGE_OUTPUTS, *TOP_OUTPUTS)

BLS_INPUTS = (
    *_TEXT_INPUTS,
    *IMAGE_INPUTS,
    *_optional(INT32, "num_draft_tokens"),
    *_optional(BOOL, "use_draft_logits"),
    *LORA_INPUTS,
    *_optional(BOOL, RETURN_PERF_METRICS),
    *ADDED_INPUTS,
    *BLS_ONLY_INPUTS,
)
BLS_OUTPUTS = (*ANSWER_OUTPUTS, *USAGE_OUTPUTS, *BLS_ONLY_OUTPUTS)

PREPROCESSING_INPUTS = (
    Tensor(PRE_QUERY, STRING, optional=True),
    Tensor("DECODER_QUERY", STRING, optional=True),
    Tensor(PRE_REQUEST_OUTPUT_LEN, INT32, optional=True),
    *_optional(STRING, "BAD_WORDS_DICT", "STOP_WORDS_DICT", "EMBEDDING_BIAS_WORDS", dims=(-1,)),
    *_optional(FP32, "EMBEDDING_BIAS_WEIGHTS", dims=(-1,)),
    *_optional(INT32, "END_ID", "PAD_ID"),
    *_optional(UINT64, "PROMPT_TABLE_EXTRA_ID"),
    *_optional(
        STRING, PRE_MESSAGES, PRE_TOOLS, PRE_TOOL_CHOICE, PRE_CHAT_TEMPLATE_KWARGS, PRE_PROMPT_FORMAT, PRE_PROMPT
    ),
    *_optional(INT32, "STOP_TOKEN_IDS", dims=(-1,)),
    *_optional(BOOL, "IGNORE_EOS"),
)
TEXT_NAMES = {t.name: t.name.lower() for t in PREPROCESSING_INPUTS} | {
    PRE_QUERY: TEXT_INPUT,
    "DECODER_QUERY": "decoder_text_input",
    PRE_REQUEST_OUTPUT_LEN: "max_tokens",
    "BAD_WORDS_DICT": BAD_WORDS,
    "STOP_WORDS_DICT": STOP_WORDS,
}
"""Inputs of preprocessing to the text models' names for them, the only ones that callers of the ensemble know."""

PREPROCESSING_OUTPUTS = (
    Tensor(PRE_INPUT_ID, INT32, (-1,)),
    Tensor(PRE_REQUEST_INPUT_LEN, INT32),
    Tensor(PRE_DECODER_INPUT_ID, INT32, (-1,)),
    Tensor(PRE_REQUEST_DECODER_INPUT_LEN, INT32),
    Tensor(PRE_BAD_WORDS_IDS, INT32, (2, -1)),
    Tensor(PRE_STOP_WORDS_IDS, INT32, (2, -1)),
    Tensor(PRE_EMBEDDING_BIAS, FP32, (-1,)),
    Tensor(PRE_REQUEST_OUTPUT_LEN, INT32, (-1,)),
    Tensor(PRE_OUT_END_ID, INT32),
    Tensor(PRE_OUT_PAD_ID, INT32),
    Tensor(PRE_OUT_PROMPT_TABLE_EXTRA_IDS, UINT64, (-1,)),
    Tensor(PRE_STOP_WORDS, STRING, (-1,)),
)

POSTPROCESSING_INPUTS = (Tensor(POST_TOKENS_BATCH, INT32, (-1, -1)), Tensor(POST_SEQUENCE_LENGTH, INT32, (-1,)))
POSTPROCESSING_OUTPUTS = (Tensor(POST_OUTPUT, STRING, (-1,)),)

ENGINE_INPUTS = (
    Tensor(INPUT_IDS, INT32, (-1,)),
    Tensor(INPUT_LENGTHS, INT32),
    Tensor(REQUEST_OUTPUT_LEN, INT32),
    *_ENGINE_SAMPLING,
    *_optional(INT32, "draft_input_ids", "decoder_input_ids", dims=(-1,)),
    *_optional(INT32, "decoder_input_lengths"),
    *_optional(FP32, "draft_logits", dims=(-1, -1)),
    *_optional(FP32, "draft_acceptance_threshold"),
    *_optional(INT32, END_ID, PAD_ID),
    *_optional(INT32, STOP_WORDS_LIST, BAD_WORDS_LIST, dims=(2, -1)),
    *_optional(FP32, EMBEDDING_BIAS, dims=(-1,)),
    *_optional(FP32, "runtime_top_p_min", "runtime_top_p_decay", "beam_search_diversity_rate"),
    *_optional(INT32, "runtime_top_p_reset_ids"),
    *_optional(BOOL, "early_stopping"),
    *_optional(BOOL, RETURN_LOG_PROBS, "return_context_logits", "return_generation_logits"),
    *_optional(BOOL, EXCLUDE_INPUT_IN_OUTPUT, STOP, STREAMING),
    *_optional(FP16, "prompt_embedding_table", dims=(-1, -1)),
    *_optional(UINT64, "prompt_table_extra_ids", dims=(-1,)),
    *_optional(INT32, "prompt_vocab_size"),
    *LORA_INPUTS,
    *_optional(UINT8, CONTEXT_PHASE_PARAMS, dims=(-1,)),
    *_optional(INT32, TOP_LOGPROBS),
    *_optional(BOOL, INCLUDE_STOP_STR_IN_OUTPUT, RETURN_NUM_INPUT_TOKENS, RETURN_NUM_OUTPUT_TOKENS),
    *_optional(STRING, STOP_WORDS, dims=(-1,)),
    *GUIDE_INPUTS,
    *_optional(STRING, LORA_NAME),
)
ENGINE_OUTPUTS = (
    Tensor(OUTPUT_IDS, INT32, (-1, -1)),
    Tensor(SEQUENCE_LENGTH, INT32, (-1,)),
    Tensor(CUM_LOG_PROBS, FP32, (-1,)),
    Tensor(OUTPUT_LOG_PROBS, FP32, (-1, -1)),
    Tensor("context_logits", FP32, (-1, -1)),
    Tensor("generation_logits", FP32, (-1, -1, -1)),
    Tensor(BATCH_INDEX, INT32),
    Tensor(SEQUENCE_INDEX, INT32),
    Tensor(CONTEXT_PHASE_PARAMS, UINT8, (-1,)),
    *USAGE_OUTPUTS,
    *TOP_OUTPUTS,
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
    PREPROCESSING: {PRE_QUERY, PRE_REQUEST_OUTPUT_LEN},
    BLS: {TEXT_INPUT, "max_tokens"},
    ENSEMBLE: {TEXT_INPUT, "max_tokens"},
}
"""Inputs that stock requires and that are optional here: `messages` replaces the text, the context bounds the length."""

REFUSED_TEXT_INPUTS = {
    PROMPT: f"{TEXT_INPUT} is missing, the prompt goes there",
    "decoder_text_input": "Qwen has no encoder-decoder form",
    **dict.fromkeys((tensor.name for tensor in IMAGE_INPUTS), "images are not supported by this model"),
    "prompt_embedding_table": "prompt tuning is not supported",
    "prompt_vocab_size": "prompt tuning is not supported",
    "prompt_table_extra_id": "prompt tuning is not supported",
    "num_draft_tokens": "speculative decoding with a draft model is not supported",
    "use_draft_logits": "speculative decoding with a draft model is not supported",
    "return_context_logits": "logits are not returned; use return_log_probs",
    "return_generation_logits": "logits are not returned; use return_log_probs",
}
"""`prompt` is declared to be refused: a body of nothing else would have no input at all, which Triton's Python backend
refuses in words of its own before the model sees it."""
REFUSED_ENGINE_INPUTS = {
    "draft_input_ids": "speculative decoding with draft tokens is not supported",
    "draft_logits": "speculative decoding with draft tokens is not supported",
    "draft_acceptance_threshold": "speculative decoding with draft tokens is not supported",
    "runtime_top_p_min": "top-p decay is not supported",
    "runtime_top_p_decay": "top-p decay is not supported",
    "runtime_top_p_reset_ids": "top-p decay is not supported",
    "early_stopping": "beam search always runs to its end here",
    "beam_search_diversity_rate": "diverse beam search is not supported",
    "return_context_logits": "logits are not returned; use return_log_probs",
    "return_generation_logits": "logits are not returned; use return_log_probs",
    "prompt_embedding_table": "prompt tuning is not supported",
    "prompt_table_extra_ids": "prompt tuning is not supported",
    "prompt_vocab_size": "prompt tuning is not supported",
    **dict.fromkeys((tensor.name for tensor in LORA_INPUTS), f"adapters are chosen by name here: {LORA_NAME}"),
    CONTEXT_PHASE_PARAMS: "disaggregated serving is not supported",
}
"""Inputs of stock that nothing here honours, with the reason that their senders are given."""
REFUSED = {BLS: REFUSED_TEXT_INPUTS, TENSORRT_LLM: REFUSED_ENGINE_INPUTS}
"""The same by model."""
ENGINE_ONLY = (
    *("draft_input_ids", "draft_logits", "draft_acceptance_threshold"),
    *("runtime_top_p_min", "runtime_top_p_decay", "runtime_top_p_reset_ids"),
    *("early_stopping", "beam_search_diversity_rate", CONTEXT_PHASE_PARAMS),
)
"""Inputs of NVIDIA's engine model that the text models do not have, as stock's do not: who needs one asks `tensorrt_llm`."""
LATER_ENGINE_ONLY = (
    *("encoder_input_features", "encoder_output_lengths", "cross_attention_mask", "skip_cross_attn_blocks"),
    *("mrope_rotary_cos_sin", "mrope_position_deltas"),
    *(f"retention_token_range_{part}" for part in ("starts", "ends", "priorities", "durations_ms")),
    *("retention_decode_priority", "retention_decode_duration_ms"),
    *("lookahead_window_size", "lookahead_ngram_size", "lookahead_verification_set_size"),
)
"""The same of TensorRT-LLM 0.19 and later, which engines of ours do not declare."""

ENGINE_ALIASES = {p.engine_tensors[-1]: p.engine_tensors[0] for p in SAMPLING if len(p.engine_tensors) > 1}
"""Stock's name of an input to ours, which TensorRT-LLM has too since 0.20; an engine model declares one or both."""
STOCK_NAMES = {p.tensors[0]: p.tensors[-1] for p in SAMPLING if len(p.tensors) > 1}
"""Our name of a text model's input to stock's, for models that only know stock's."""
ADDED_SAMPLING = {
    engine: text
    for p in _SHARED
    for text, engine in zip(p.tensors, p.engine_tensors, strict=True)
    if text in _added_names(p)
}
"""The engine model's inputs for sampling parameters that stock lacks, to the text models' inputs that feed them."""
