"""How a caller reaches each tensor of stock's `tensorrt_llm`, `tensorrt_llm_bls` and `ensemble`, of every contract.

The tables name every input and output of the contract's configs, so that a new contract with a tensor that nobody has thought
of fails a test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ENGINE_INPUTS: dict[str, tuple[str, ...] | str] = {
    "input_ids": ("text_input",),
    "input_lengths": ("text_input",),
    "request_output_len": ("max_tokens",),
    "end_id": ("end_id",),
    "pad_id": ("pad_id",),
    "stop_words_list": ("stop_words",),
    "bad_words_list": ("bad_words",),
    "embedding_bias": ("embedding_bias_words", "embedding_bias_weights"),
    "beam_width": ("beam_width",),
    "temperature": ("temperature",),
    "runtime_top_k": ("top_k",),
    "runtime_top_p": ("top_p",),
    "len_penalty": ("length_penalty", "beam_width"),
    "repetition_penalty": ("repetition_penalty",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "min_length": ("min_length",),
    "min_tokens": ("min_tokens",),
    "random_seed": ("random_seed",),
    "seed": ("seed",),
    "return_log_probs": ("return_log_probs",),
    "streaming": ("stream",),
    "lora_task_id": ("lora_task_id",),
    "lora_weights": ("lora_task_id", "lora_weights", "lora_config"),
    "lora_config": ("lora_task_id", "lora_weights", "lora_config"),
    "return_perf_metrics": ("return_perf_metrics",),
    "guided_decoding_guide_type": ("guided_decoding_guide_type", "guided_decoding_guide"),
    "guided_decoding_guide": ("guided_decoding_guide_type", "guided_decoding_guide"),
    "exclude_input_in_output": "the BLS puts the prompt before the answer itself",
    "num_return_sequences": "each answer is a request of its own to the engine",
    "return_num_input_tokens": "the BLS counts",
    "return_num_output_tokens": "the BLS counts",
    "stop": "the BLS sends it for a caller that leaves",
    "decoder_input_ids": "Qwen has no encoder-decoder form",
    "decoder_input_lengths": "Qwen has no encoder-decoder form",
    "encoder_input_features": "Qwen has no encoder-decoder form",
    "encoder_output_lengths": "Qwen has no encoder-decoder form",
    "cross_attention_mask": "Qwen has no encoder-decoder form",
    "skip_cross_attn_blocks": "Qwen has no encoder-decoder form",
    "mrope_rotary_cos_sin": "images are not supported",
    "mrope_position_deltas": "images are not supported",
    "return_context_logits": "refused: logits are not returned",
    "return_generation_logits": "refused: logits are not returned",
    "prompt_embedding_table": "refused: prompt tuning is not supported",
    "prompt_table_extra_ids": "refused: prompt tuning is not supported",
    "prompt_vocab_size": "refused: prompt tuning is not supported",
    "draft_input_ids": "asked of tensorrt_llm",
    "draft_logits": "asked of tensorrt_llm",
    "draft_acceptance_threshold": "asked of tensorrt_llm",
    "runtime_top_p_min": "asked of tensorrt_llm",
    "runtime_top_p_decay": "asked of tensorrt_llm",
    "runtime_top_p_reset_ids": "asked of tensorrt_llm",
    "early_stopping": "asked of tensorrt_llm",
    "beam_search_diversity_rate": "asked of tensorrt_llm",
    "context_phase_params": "asked of tensorrt_llm",
    "retention_token_range_starts": "asked of tensorrt_llm",
    "retention_token_range_ends": "asked of tensorrt_llm",
    "retention_token_range_priorities": "asked of tensorrt_llm",
    "retention_token_range_durations_ms": "asked of tensorrt_llm",
    "retention_decode_priority": "asked of tensorrt_llm",
    "retention_decode_duration_ms": "asked of tensorrt_llm",
    "lookahead_window_size": "asked of tensorrt_llm",
    "lookahead_ngram_size": "asked of tensorrt_llm",
    "lookahead_verification_set_size": "asked of tensorrt_llm",
}
"""Each input of the engine model: the inputs of the BLS that it is made of, or why none is."""

REFUSED = {
    "decoder_text_input": "Qwen has no encoder-decoder form; leave it out",
    "image_input": "images are not supported by this model; leave it out",
    "image_bytes_input": "images are not supported by this model; leave it out",
    "image_url_input": "images are not supported by this model; leave it out",
    "video_bytes_input": "images are not supported by this model; leave it out",
    "image_sizes_input": "images are not supported by this model; leave it out",
    "prompt_embedding_table": "prompt tuning is not supported; leave it out",
    "prompt_vocab_size": "prompt tuning is not supported; leave it out",
    "prompt_table_extra_id": "prompt tuning is not supported; leave it out",
    "num_draft_tokens": "speculative decoding with a draft model is not supported; leave it out",
    "use_draft_logits": "speculative decoding with a draft model is not supported; leave it out",
    "return_context_logits": "logits are not returned; use return_log_probs; leave it out",
    "return_generation_logits": "logits are not returned; use return_log_probs; leave it out",
}
"""Inputs of the contract's BLS and ensemble that are refused, with what their senders read."""

OF_THE_BLS = {"exclude_input_in_output", "num_return_sequences", "return_num_input_tokens", "return_num_output_tokens"}
"""Inputs of the contract's BLS that ours honours itself; all others that are not refused go to the engine."""

PASSED_OUTPUTS = {"cum_log_probs", "output_log_probs"} | {
    *("kv_cache_alloc_new_blocks", "kv_cache_reused_blocks", "kv_cache_alloc_total_blocks"),
    *("arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns", "last_token_time_ns"),
    *("acceptance_rate", "total_accepted_draft_tokens", "total_draft_tokens"),
}
"""Outputs that the BLS passes on from the engine."""
OWN_OUTPUTS = {"text_output", "batch_index", "sequence_index", "num_input_tokens", "num_output_tokens"}
"""Outputs of the contract's BLS that ours makes itself."""
NEVER_SENT = {"context_logits", "generation_logits"}
"""Outputs of inputs that are refused."""
OF_THE_ENGINE = {
    *("output_ids", "sequence_length", "batch_index", "sequence_index", "context_phase_params"),
    *("context_logits", "generation_logits", "num_input_tokens", "num_output_tokens"),
}
"""Outputs of the engine model that clients of token ids read: the BLS makes text of them, counts itself, or has no use."""

SAMPLES: dict[str, Any] = {
    **dict.fromkeys(("text_input", "decoder_text_input", "stop_words", "bad_words", "embedding_bias_words"), "hello"),
    "image_url_input": "http://localhost/image.png",
    "guided_decoding_guide_type": "json_schema",
    "guided_decoding_guide": "{}",
    "temperature": 0.5,
    "top_p": 0.5,
    "embedding_bias_weights": 1.5,
    "length_penalty": 2.0,
    "min_length": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 1.5,
    "min_tokens": 2,
    "beam_width": 2,
    "end_id": 151645,
    "lora_weights": [[0.5, 1.0]],
    "lora_config": [[0, 3, 8]],
    "image_input": [[[[1.0]]]],
    "image_bytes_input": [[[[1]]]],
    "video_bytes_input": [[[[1]]]],
    "prompt_embedding_table": [[1.0]],
    "image_sizes_input": [[4, 4]],
}
"""A value of an input; of any other: 1, and true of a flag."""
_DTYPES = {"INT32": np.int32, "INT64": np.int64, "UINT64": np.uint64, "FP32": np.float32, "FP16": np.float16}


def sample(name: str, data_type: str) -> Any:
    """A value of an input as an array [1, …] of its type in config.pbtxt; a placeholder is float16."""
    value = SAMPLES.get(name, 1)
    if data_type == "TYPE_STRING":
        return np.array([[value.encode()]], object)
    kind = data_type.removeprefix("TYPE_")
    dtype = np.bool_ if kind == "BOOL" else np.uint8 if kind == "UINT8" else _DTYPES.get(kind, np.float16)
    array = np.array([value], dtype)
    return array if array.ndim > 1 else array.reshape(1, 1)
