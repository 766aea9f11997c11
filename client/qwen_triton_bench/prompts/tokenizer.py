"""Tokenizers that make prompts of a set length and check the server's counts.

Either the server's preprocessing model or a folder's `tokenizer.json` encodes. Neither applies a chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from qwen_triton.errors import ConfigurationError

Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts → the token ids of each."""


def folder_tokenizer(folder: Path) -> Encode:
    """The tokenizer of a checkpoint's folder. Raises ConfigurationError when it has none."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigurationError(f"--tokenizer-dir {folder}: has no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    return lambda texts: [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def in_batches(encode: Encode, rows: int) -> Encode:
    """The same tokenizer, called with at most `rows` texts at once."""
    return lambda texts: [ids for at in range(0, len(texts), rows) for ids in encode(texts[at : at + rows])]
