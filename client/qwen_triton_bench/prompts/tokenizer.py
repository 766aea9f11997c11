"""Token ids of texts, for making prompts of a length and for checking the server's counts.

By the server's own preprocessing model, or by the `tokenizer.json` of a folder. Neither adds a chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from qwen_triton.errors import ConfigurationError

Encode = Callable[[Sequence[str]], list[list[int]]]


def folder_tokenizer(folder: Path) -> Encode:
    """The tokenizer of a checkpoint's folder. Raises ConfigurationError when there is none."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigurationError(f"--tokenizer-dir {folder}: has no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    return lambda texts: [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def in_batches(encode: Encode, rows: int) -> Encode:
    """The same, never with more texts at once than `rows`."""
    return lambda texts: [ids for at in range(0, len(texts), rows) for ids in encode(texts[at : at + rows])]
