"""Models that the figures are measured with: shapes of Qwen2.5, as folders of config and tokenizer, without weights.

vLLM makes random weights for them (`load_format: dummy`): its speed does not depend on their values.
`python -m tests.gpu.figures.models FOLDER` writes them all, for `qwen-triton tune` with `engine.load_format: dummy`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from .loads import Load

_SMALL_LOADS = (
    Load("500 streamed", 2000, 500, 128, 128),
    Load("500 whole", 2000, 500, 128, 128, streamed=False),
    Load("64 streamed", 640, 64, 128, 128),
)
_LARGE_LOADS = (Load("500 streamed", 500, 500, 256, 256), Load("500 whole", 500, 500, 256, 256, streamed=False))


@dataclass(frozen=True)
class Model:
    """A model under measurement. `shape`: a key of `SHAPES`; `engine`: arguments of vLLM's engine that it needs."""

    name: str
    shape: str
    loads: tuple[Load, ...]
    engine: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


_END, _START, _TEXT_END = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
_SPECIAL = {151643: _TEXT_END, 151644: _START, 151645: _END}
_BASE: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "attention_dropout": 0.0,
    "bos_token_id": 151643, "eos_token_id": 151645, "initializer_range": 0.02, "rms_norm_eps": 1e-6, "use_cache": True,
    "max_position_embeddings": 32768, "rope_theta": 1000000.0, "sliding_window": 131072, "use_sliding_window": False,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "max_window_layers": 21, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "14b": {
        "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48, "num_attention_heads": 40,
        "num_key_value_heads": 8, "max_window_layers": 70, "vocab_size": 152064,
    },
}  # fmt: skip
"""Qwen2.5-0.5B-Instruct's and Qwen2.5-14B-Instruct's."""
_GPTQ = {
    "quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "static_groups": False,
    "true_sequential": True, "damp_percent": 0.01, "lm_head": False, "model_file_base_name": "model",
    # without weights beside it vLLM would read from their metadata that no layer is quantized
    "modules_in_block_to_quantize": [
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    ],
}  # fmt: skip
_HALF = {"torch_dtype": "float16", "quantization_config": _GPTQ}
MODELS = {
    model.name: model
    for model in (
        Model("0.5b-bf16", "0.5b", _SMALL_LOADS, {"dtype": "bfloat16"}),
        Model("14b-gptq", "14b", _LARGE_LOADS, {"dtype": "float16"}, _HALF),
        Model("14b-bf16", "14b", _LARGE_LOADS, {"dtype": "bfloat16"}),
        Model("14b-fp8", "14b", _LARGE_LOADS, {"dtype": "bfloat16", "quantization": "fp8"}),
    )
}


def write_model(model: Model, root: Path) -> Path:
    """A folder below `root` with the model's config and a tokenizer in which every id has a text."""
    folder = root / model.name
    folder.mkdir(parents=True, exist_ok=True)
    config = {**_BASE, **SHAPES[model.shape], **model.config}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    generation = {"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    _tokenizer(config["vocab_size"]).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32768, "eos_token": _END, "pad_token": _TEXT_END,
        "clean_up_tokenization_spaces": False, "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _tokenizer(size: int) -> Tokenizer:
    """Byte-level BPE without merges: a token for each byte, and a word of its own for every other id."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {_SPECIAL.get(n, f"\u0120w{n}"): n for n in range(len(letters), size)}
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)} | words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL.values()])
    return tokenizer


if __name__ == "__main__":
    for one in MODELS.values():
        print(write_model(one, Path(sys.argv[1])))
