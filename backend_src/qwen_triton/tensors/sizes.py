"""Checks the sizes of a request's arrays against the table of limits, before one of their values is read."""

from __future__ import annotations

from ..errors import InvalidRequest
from ..limits import Limits
from .arrays import Array, Arrays
from .contract import (
    BAD_WORDS,
    BAD_WORDS_LIST,
    CHAT_TEMPLATE_KWARGS,
    EMBEDDING_BIAS_WEIGHTS,
    EMBEDDING_BIAS_WORDS,
    INPUT_IDS,
    LOGIT_BIAS,
    MESSAGES,
    POST_TOKENS_BATCH,
    STOP_TOKEN_IDS,
    STOP_WORDS,
    STOP_WORDS_LIST,
    TEXT_INPUT,
    TEXT_NAMES,
    TOOLS,
)

_COUNTS = {
    INPUT_IDS: "prompt_tokens",
    STOP_WORDS: "stop_strings",
    STOP_TOKEN_IDS: "stop_ids",
    BAD_WORDS: "bad_words",
    EMBEDDING_BIAS_WORDS: "biases",
    EMBEDDING_BIAS_WEIGHTS: "biases",
    POST_TOKENS_BATCH: "answer_tokens",
}
"""By tensor, the limit of its values in a row. Of any other: `tensor_values`."""
_BYTES = {
    TEXT_INPUT: "prompt_bytes",
    MESSAGES: "messages_bytes",
    TOOLS: "tools_bytes",
    CHAT_TEMPLATE_KWARGS: "template_options_bytes",
    STOP_WORDS: "stop_bytes",
    BAD_WORDS: "words_bytes",
    EMBEDDING_BIAS_WORDS: "words_bytes",
}
"""By tensor of texts, the limit of the bytes of a row. Of any other: `tensor_values`."""
_END_IDS = 16
"""A checkpoint's own end ids, which preprocessing sends as stop words of one token."""
_BIAS_BYTES = 64
"""The most bytes of one entry of `logit_bias`: a token id, a number in any spelling, blanks."""


def check_sizes(arrays: Arrays, limits: Limits) -> None:
    """Raises InvalidRequest, with the name that callers know the tensor by, for the first one that is above a limit.

    `arrays` are [rows, …], of any model. Work and memory are in proportion to the number of tensors and strings.
    """
    for tensor, array in arrays.items():
        name = TEXT_NAMES.get(tensor, tensor)
        rows = array.shape[0] if array.ndim else 1
        limits.check("sequences", rows, name)
        if array.size:
            _check_count(name, array.size // rows, limits)
        if array.dtype == object:
            _check_bytes(name, array, limits)


def _check_count(name: str, values: int, limits: Limits) -> None:
    if name == STOP_WORDS_LIST:  # two lines of equal length, the first has the ids
        _check_ids(name, values // 2, limits.stop_bytes + limits.stop_ids + _END_IDS, "stop_bytes")
    elif name == BAD_WORDS_LIST:
        _check_ids(name, values // 2, limits.words_bytes, "words_bytes")
    else:
        limits.check(_COUNTS.get(name, "tensor_values"), values, name)


def _check_ids(name: str, ids: int, most: int, limit: str) -> None:
    """Words in token ids: a token has at least one byte, so as many ids as the words may have bytes, and single stop ids."""
    if ids > most:
        raise InvalidRequest(
            f"{ids} token ids are more than the {most} that are taken here (limits.{limit}); send less", name
        )


def _check_bytes(name: str, array: Array, limits: Limits) -> None:
    for row in array.reshape(array.shape[0] if array.ndim else 1, -1):
        size = sum(map(len, row))
        if name == LOGIT_BIAS:
            if size > limits.biases * _BIAS_BYTES:
                most = limits.biases * _BIAS_BYTES
                raise InvalidRequest(
                    f"{size} bytes are more than the {most} that are taken here (limits.biases); send less", name
                )
        else:
            limits.check(_BYTES.get(name, "tensor_values"), size, name)
