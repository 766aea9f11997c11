"""The vocabulary by which openvino-genai constrains tokens, as the detokenizer model that it reads it from.

Written from tokenizer.json: the bytes of each token, a mark for each added token (forms.marks), and nothing for control
tokens and unused ids, which the library then never lets through.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import cache
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset15 as op
from openvino.utils.node_factory import NodeFactory

from ...chat.forms.marks import token_marks
from ...checkpoint.text_files import TokenizerFolder
from ...errors import ConfigurationError
from ...text.tokenizer import Tokenizer

_FILE = "openvino_detokenizer.xml"
_SOURCE = "openvino_detokenizer.sha256"
VERSION = "1"
"""Part of what the vocabulary is known by; raise it with every change of what is written."""


def has_vocabulary(folder: Path) -> bool:
    """Whether a converted model has a vocabulary of this module's."""
    return (folder / _SOURCE).is_file() and (folder / _FILE).is_file()


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
        ov.save_model(detokenizer(tokenizer, vocab_size), folder / _FILE, compress_to_fp16=False)
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


def detokenizer(tokenizer: Tokenizer, vocab_size: int) -> ov.Model:
    """Token ids [n, m] to n texts, by OpenVINO's operations for strings."""
    texts = token_texts(tokenizer, vocab_size)
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
    model.set_rt_info(str(tokenizer.end_ids[0] if tokenizer.end_ids else tokenizer.pad_id), "eos_token_id")
    model.set_rt_info(VERSION, "openvino_tokenizers_version")
    return model


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
