"""The preprocessing model's outputs, from the same engine requests as the BLS makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.preprocess import Preprocessor
from qwen_triton.tensors.arrays import Array, decode_word_list, encode_strings
from qwen_triton.tensors.prompt import decode_prompts, encode_prompts
from qwen_triton.text.tokenizer import Tokenizer


def strings(*rows: list[str]) -> Array:
    return encode_strings(list(rows))


def test_prompts_become_stock_s_tensors(qwen25_folder: Path, qwen25: Tokenizer) -> None:
    """Rows padded to the longest prompt; end ids beside the first, stop ids and stop words in one list."""
    preprocessor = Preprocessor(qwen25, ChatTemplate.from_folder(qwen25_folder, qwen25))
    prompts = decode_prompts(
        {
            "QUERY": strings(["hello"], ["hello there you"]),
            "REQUEST_OUTPUT_LEN": np.array([[5], [6]], np.int32),
            "STOP_WORDS_DICT": strings([" two", "zebra crossing"], [" three", ""]),
            "END_ID": np.array([[42], [-1]], np.int32),
            "PAD_ID": np.array([[3], [4]], np.int32),
            "EMBEDDING_BIAS_WORDS": strings([" two"], [" two"]),
            "EMBEDDING_BIAS_WEIGHTS": np.array([[1.5], [-1.0]], np.float32),
        }
    )
    requests = [preprocessor.engine_requests(prompt)[0] for prompt in prompts]
    arrays = encode_prompts(requests, [p.stop.strings for p in prompts], qwen25.vocab_size)
    short, long = qwen25.encode("hello"), qwen25.encode("hello there you")
    assert arrays["INPUT_ID"].tolist() == [[*short, 3, 3], long]
    assert arrays["REQUEST_INPUT_LEN"].tolist() == [[1], [3]]
    assert arrays["REQUEST_OUTPUT_LEN"].tolist() == [[5], [6]]
    assert (arrays["OUT_END_ID"].tolist(), arrays["OUT_PAD_ID"].tolist()) == ([[42], [-1]], [[3], [4]])
    words = [[tuple(qwen25.encode(w)) for w in row] for row in ([" two", "zebra crossing"], [" three"])]
    assert [list(row) for row in decode_word_list(arrays["STOP_WORDS_IDS"], "stop_words_list")] == words
    assert arrays["STOP_WORDS"].tolist() == [[b" two", b"zebra crossing"], [b" three", b""]]
    (two,) = qwen25.encode(" two")
    assert arrays["EMBEDDING_BIAS"][:, two].tolist() == [1.5, -1.0]
    assert np.count_nonzero(arrays["EMBEDDING_BIAS"]) == 2


def test_the_checkpoint_s_second_end_id_is_a_stop_word(qwen25_folder: Path, qwen25: Tokenizer) -> None:
    """The engine model takes one end id. Without biases that tensor is empty."""
    preprocessor = Preprocessor(qwen25, ChatTemplate.from_folder(qwen25_folder, qwen25))
    (prompt,) = decode_prompts({"QUERY": strings(["hello"])})
    arrays = encode_prompts(preprocessor.engine_requests(prompt), [()], qwen25.vocab_size)
    first, second = qwen25.end_ids
    assert arrays["OUT_END_ID"].tolist() == [[first]]
    assert decode_word_list(arrays["STOP_WORDS_IDS"], "stop_words_list") == [((second,),)]
    assert arrays["EMBEDDING_BIAS"].shape == (1, 0)
    assert arrays["REQUEST_OUTPUT_LEN"].tolist() == [[preprocessor.context() - 1]]
