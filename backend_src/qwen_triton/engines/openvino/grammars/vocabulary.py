"""The vocabulary by which openvino-genai constrains tokens, as the detokenizer model that it reads it from.

Written from tokenizer.json: the bytes of each token, a mark for each added token (forms.marks), and nothing for control
tokens and unused ids, which the library then never lets through.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset15 as op
from openvino.utils.node_factory import NodeFactory

from ....chat.forms.marks import token_marks
from ....checkpoint.text_files import TokenizerFolder
from ....errors import ConfigurationError
from ....text.tokenizer import Tokenizer
from ..architecture import DenseQwen
from ..graph import GraphBuilder

_FILE = "openvino_detokenizer.xml"
COMPILER, SAMPLE = "grammars", "grammars-sample"
"""Folders of models by which grammars are compiled, one small layer each: with the same vocabulary, and with a sample of it."""
SAMPLED, SAMPLE_END = 16, 0
"""Of how many tokens the sample has one; its first token is its end."""
_SOURCE = "openvino_detokenizer.sha256"
_WIDTH = 32
_ONES = ("layers", "heads", "kv_heads")
VERSION = "3"
"""Part of what the vocabulary is known by; raise it with every change of what is written."""


def has_vocabulary(folder: Path) -> bool:
    """Whether a converted model has a vocabulary of this module's."""
    return (folder / _SOURCE).is_file() and (folder / SAMPLE / _FILE).is_file()


def ensure_vocabulary(checkpoint: Path, folder: Path, vocab_size: int) -> None:
    """Writes the vocabulary of a checkpoint's tokenizer into its converted folder, unless it is there.

    A checkpoint without a tokenizer that can be read gets none; `vocab_size` is the model's. Raises ConfigurationError for
    a folder that cannot be written.
    """
    file = checkpoint / "tokenizer.json"
    if not file.is_file():
        return
    source = f"{VERSION} {vocab_size} {hashlib.sha256(file.read_bytes()).hexdigest()}"
    if has_vocabulary(folder) and (folder / _SOURCE).read_text() == source:
        return
    try:
        tokenizer = Tokenizer(TokenizerFolder(checkpoint))
    except ConfigurationError:
        return
    try:
        (folder / _SOURCE).unlink(missing_ok=True)
        texts = token_texts(tokenizer, vocab_size)
        end = tokenizer.end_ids[0] if tokenizer.end_ids else tokenizer.pad_id
        ov.save_model(detokenizer(texts, end), folder / _FILE, compress_to_fp16=False)
        _save_small(checkpoint, folder / COMPILER, vocab_size)
        sample = sampled(texts)
        _save_small(checkpoint, folder / SAMPLE, len(sample))
        ov.save_model(detokenizer(sample, SAMPLE_END), folder / SAMPLE / _FILE, compress_to_fp16=False)
        partial = folder / f"{_SOURCE}.partial"
        partial.write_text(source)
        os.replace(partial, folder / _SOURCE)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"{folder}: the vocabulary cannot be written: {error}") from error


def token_texts(tokenizer: Tokenizer, vocab_size: int) -> list[bytes]:
    """By id what a grammar sees of each token; b"" for one that no answer of a form may have."""
    marks = token_marks(tokenizer.added_tokens)
    added = {token: marks.get(text, "").encode() for token, text in tokenizer.added_tokens.items()}
    return [
        b"" if tokenizer.is_special(token) else added[token] if token in added else tokenizer.token_bytes(token)
        for token in range(vocab_size)
    ]


def sampled(texts: list[bytes]) -> list[bytes]:
    """One in `SAMPLED` of the tokens that have a text, evenly from the shortest to the longest, behind the end."""
    return [b"", *sorted(filter(None, texts), key=lambda text: (len(text), text))[SAMPLED - 1 :: SAMPLED]]


def detokenizer(texts: list[bytes], end_id: int) -> ov.Model:
    """Token ids [n, m] to n texts, by OpenVINO's operations for strings."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int32)
    begins = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    letters = np.frombuffer(b"".join(texts), np.uint8)
    extension = _extension()
    ids = op.parameter(ov.PartialShape([-1, -1]), ov.Type.i64)
    table = [op.constant(values).output(0) for values in (begins, ends, letters)]
    *ragged, characters = extension.create("VocabDecoder", [op.convert(ids, "i32").output(0), *table], {}).outputs()
    joined = [*extension.create("FuzeRagged", ragged, {}).outputs(), characters]
    text = op.string_tensor_pack(*joined)
    text.output(0).tensor.add_names({"string_output"})
    model = ov.Model([text], [ids], "detokenizer")
    model.set_rt_info(str(end_id), "eos_token_id")
    model.set_rt_info(VERSION, "openvino_tokenizers_version")
    return model


def _save_small(checkpoint: Path, folder: Path, vocab_size: int) -> None:
    folder.mkdir(exist_ok=True)
    ov.save_model(_small_model(vocab_size), folder / "openvino_model.xml", compress_to_fp16=True)
    shutil.copyfile(checkpoint / "config.json", folder / "config.json")


def _small_model(vocab_size: int) -> ov.Model:
    """A model of the vocabulary that computes next to nothing."""
    sizes: dict[str, Any] = dict.fromkeys(("hidden", "intermediate", "head_dim"), _WIDTH) | dict.fromkeys(_ONES, 1)
    model = DenseQwen(
        **sizes, vocab=vocab_size, max_positions=_WIDTH, rope_theta=10_000.0, norm_eps=1e-6,
        tied=True, qk_norm=False, qkv_bias=False, output_bias=False,
    )  # fmt: skip
    shapes = model.tensor_shapes()
    return GraphBuilder(model, lambda name: op.constant(np.zeros(shapes[name], np.float32))).build()


@cache
def _extension() -> NodeFactory:
    """Makes OpenVINO's operations for strings. Kept for ever: operations are code of the library that it holds loaded.

    Raises ConfigurationError where the library is not installed.
    """
    found = importlib.util.find_spec("openvino_tokenizers")
    if found is None or found.origin is None:
        raise ConfigurationError("engine: openvino_tokenizers is not installed; install the extra openvino again")
    factory = NodeFactory()
    factory.add_extension(str(Path(found.origin).parent / "lib" / "libopenvino_tokenizers.so"))
    return factory
