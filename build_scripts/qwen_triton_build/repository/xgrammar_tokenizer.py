"""The file by which TensorRT-LLM's xgrammar knows the tokenizer: `xgrammar_tokenizer_info_path` of the tensorrt_llm model.

An object with `encoded_vocab` (the tokens by id, as tokenizer.json spells them), `tokenizer_str` (tokenizer.json itself) and
`stop_token_ids` (the id that ends an answer). It needs neither TensorRT-LLM nor xgrammar.
"""

from __future__ import annotations

import json
from pathlib import Path

from qwen_triton.text.tokenizer import Tokenizer

FILE = "xgrammar_tokenizer_info.json"


def tokenizer_info(folder: Path) -> str:
    """The file's text for a checkpoint's folder. Raises ConfigurationError for a tokenizer that cannot be read."""
    tokenizer = Tokenizer.from_folder(folder)
    spellings = tokenizer.spelled_tokens()
    vocabulary = [spellings.get(token, "") for token in range(max(spellings) + 1)]
    info = {
        "encoded_vocab": vocabulary,
        "tokenizer_str": tokenizer.serialized(),
        "stop_token_ids": list(tokenizer.end_ids[:1]),
    }
    return json.dumps(info)
