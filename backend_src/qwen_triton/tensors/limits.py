"""The table of limits: the most of everything whose size a caller chooses, checked before any work is done with it.

One row a limit, with its default, its unit and what it counts. A deployment sets them by the keys of its section
`limits:`, which are rendered into the models' parameters, so that all ways in have the same. Sizes are checked twice: of
the arrays before a value of them is read, and of the request before its text is encoded. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from ..chat.forms.compile import FormBounds
from ..errors import ConfigurationError, InvalidRequest
from ..types import EngineRequest, GenerateRequest
from .arrays import Array, Arrays
from .contract import (
    BAD_WORDS,
    BAD_WORDS_LIST,
    CHAT_TEMPLATE_KWARGS,
    EMBEDDING_BIAS_WEIGHTS,
    EMBEDDING_BIAS_WORDS,
    GUIDED_DECODING_GUIDE,
    INPUT_IDS,
    LOGIT_BIAS,
    LORA_WEIGHTS,
    MESSAGES,
    NUM_RETURN_SEQUENCES,
    POST_TOKENS_BATCH,
    PROMPT_LOGPROBS,
    STOP_TOKEN_IDS,
    STOP_WORDS,
    STOP_WORDS_LIST,
    TEXT_INPUT,
    TEXT_NAMES,
    TOOLS,
)

KIB = 1 << 10
MIB = 1 << 20


def _most(default: int, unit: str, counted: str) -> Any:
    return field(default=default, metadata={"unit": unit, "help": counted})


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each thing in one request, and of what is kept of all; `LIMITS` holds the rows.

    Sizes are in bytes, all others are counts.

    The defaults are several times what prompts of 128,000 tokens, agents with hundreds of tools and OpenAI's own limits
    need. Raises ConfigurationError for a limit below 1.
    """

    prompt_bytes: int = _most(8 * MIB, "bytes", "a prompt as text, in UTF-8")
    prompt_tokens: int = _most(MIB, "token ids", "a prompt as token ids")
    messages: int = _most(2048, "messages", "chat messages")
    messages_bytes: int = _most(8 * MIB, "bytes", "all chat messages, as JSON")
    tools: int = _most(512, "tools", "tool definitions")
    tools_bytes: int = _most(2 * MIB, "bytes", "all tool definitions, as JSON")
    template_options_bytes: int = _most(64 * KIB, "bytes", "options of the chat template, as JSON")
    stop_strings: int = _most(128, "strings", "stop strings")
    stop_bytes: int = _most(8 * KIB, "bytes", "all stop strings together, in UTF-8")
    stop_ids: int = _most(1024, "token ids", "stop token ids")
    bad_words: int = _most(1024, "words", "bad words")
    words_bytes: int = _most(64 * KIB, "bytes", "all bad words together, and all biased words together, in UTF-8")
    biases: int = _most(4096, "biases", "biased token ids, and biased words")
    form_bytes: int = _most(128 * KIB, "bytes", "a form of the answer: its schema, regex, choices or grammar")
    form_depth: int = _most(64, "levels", "levels of a JSON schema")
    form_alternatives: int = _most(4096, "alternatives", "values of an enum, branches of anyOf, choices")
    form_states: int = _most(16_384, "states", "states of a form's automaton, broad ones counted as many")
    lora_values: int = _most(
        64 * MIB,
        "values",
        "LoRA weights that a request sends to NVIDIA's backend: of all rows, each times its sequences",
    )
    sequences: int = _most(1024, "sequences", "prompts times n (or best_of, or the beams)")
    tensor_values: int = _most(MIB, "values", "values of any other tensor in a row, or bytes of its text")
    log_probs_of_prompts: int = _most(
        128 * KIB, "values", "log probs of prompts in an answer: tokens of the prompts times (prompt_logprobs + 1)"
    )
    answer_tokens: int = _most(4 * MIB, "token ids", "token ids that are to be decoded")
    token_cache_bytes: int = _most(
        64 * MIB, "bytes", "token ids of long prompts that each process keeps for the next turn of a conversation"
    )
    outputs: int = _most(64, "outputs", "outputs that a request to a model names")
    request_id_bytes: int = _most(512, "bytes", "the id of a request to a model")
    parameters_bytes: int = _most(16 * KIB, "bytes", "request parameters, as JSON")
    user_bytes: int = _most(KIB, "bytes", "`user` of the OpenAI server")
    metadata: int = _most(64, "pairs", "`metadata` of the OpenAI server")
    metadata_bytes: int = _most(32 * KIB, "bytes", "all of `metadata`, keys and values")
    url_bytes: int = _most(64 * KIB, "bytes", "the URL of a request to the OpenAI server")
    headers: int = _most(256, "headers", "headers of a request to the OpenAI server")
    header_bytes: int = _most(64 * KIB, "bytes", "all headers of a request to the OpenAI server")

    def __post_init__(self) -> None:
        for row in fields(self):
            value = getattr(self, row.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"limits.{row.name}: expected a whole number from 1, got {value!r}")

    def check(self, name: str, size: int, field: str) -> None:
        """Raises InvalidRequest with `field` when `size` is above the limit `name`."""
        most = getattr(self, name)
        if size > most:
            raise InvalidRequest(too_many(name, size, most), field)

    def form_bounds(self) -> FormBounds:
        """The limits of a form, as its compiler has them."""
        return FormBounds(
            depth=self.form_depth,
            alternatives=self.form_alternatives,
            steps=4 * self.form_states,
            bytes=self.form_bytes,
            states=self.form_states,
        )

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> Limits:
        """The defaults with those that are given. Raises ConfigurationError for an unknown key or a wrong value."""
        unknown = sorted(set(given or ()) - set(LIMITS))
        if unknown:
            raise ConfigurationError(f"limits.{unknown[0]}: there is no such limit; there are {', '.join(LIMITS)}")
        return cls(**(given or {}))


DEFAULT_LIMITS = Limits()
LIMITS: Mapping[str, Field[int]] = {row.name: row for row in fields(Limits)}
"""{key: its row}; the row's metadata has `unit` and `help`."""


def check_prompt_log_probs(rows: Iterable[EngineRequest], limits: Limits) -> None:
    """Checks the size of the log probs of prompts that one request asks for; `rows`: a sequence of each prompt.

    Raises InvalidRequest.
    """
    size = sum(
        len(row.token_ids) * (row.sampling.prompt_logprobs + 1)
        for row in rows
        if row.sampling.prompt_logprobs is not None
    )
    limits.check("log_probs_of_prompts", size, PROMPT_LOGPROBS)


def too_many(name: str, size: int, most: int) -> str:
    """The message of every refusal by the table: what was sent, the limit, and the key that sets it."""
    return f"{size} {LIMITS[name].metadata['unit']} are more than the {most} that are taken here (limits.{name}); send less"


def utf8_bytes(texts: Iterable[str]) -> int:
    """The length of all texts in UTF-8, of a lone surrogate three bytes."""
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def check_requests(requests: Sequence[GenerateRequest], limits: Limits) -> None:
    """Checks all prompts of one request, before one of them is tokenized. Raises InvalidRequest naming field and limit."""
    sequences = lora_values = 0
    for request in requests:
        _check_request(request, limits)
        sequences += sequences_of(request)
        if request.lora_task is not None:  # each sequence but a beam is a request to the engine, which has the weights
            lora_values += len(request.lora_task.weights) // _FP16_BYTES * request.sampling.sequences
    limits.check("sequences", sequences, NUM_RETURN_SEQUENCES)
    limits.check("lora_values", lora_values, LORA_WEIGHTS)


def sequences_of(request: GenerateRequest) -> int:
    """How many sequences an engine generates for a request."""
    return max(request.sampling.sequences, request.sampling.beam_width)


def _check_request(request: GenerateRequest, limits: Limits) -> None:
    if request.prompt is not None:
        limits.check("prompt_bytes", utf8_bytes((request.prompt,)), TEXT_INPUT)
    if request.token_ids is not None:
        limits.check("prompt_tokens", len(request.token_ids), INPUT_IDS)
    limits.check("messages", len(request.messages or ()), MESSAGES)
    limits.check("tools", len(request.tools), TOOLS)
    stop, bias = request.stop, request.bias
    if stop.strings or stop.token_ids:
        limits.check("stop_strings", len(stop.strings), STOP_WORDS)
        limits.check("stop_bytes", utf8_bytes(stop.strings), STOP_WORDS)
        limits.check("stop_ids", len(stop.token_ids), STOP_TOKEN_IDS)
    if bias:
        limits.check("bad_words", len(bias.bad_words), BAD_WORDS)
        limits.check("words_bytes", utf8_bytes(bias.bad_words), BAD_WORDS)
        limits.check("biases", len(bias.words), EMBEDDING_BIAS_WORDS)
        limits.check("words_bytes", utf8_bytes(word for word, _ in bias.words), EMBEDDING_BIAS_WORDS)
        limits.check("biases", len(bias.token_ids), LOGIT_BIAS)


_FP16_BYTES = 2
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
    GUIDED_DECODING_GUIDE: "form_bytes",
}
"""By tensor of texts, the limit of the bytes of a row. Of any other: `tensor_values`."""
_BYTES_OF_NUMBERS = 16
"""Bytes of numbers that take as long as a byte of text: an id of 4 bytes 60 ns, a byte of text 300 ns."""
_END_IDS = 16
"""A checkpoint's own end ids, which preprocessing sends as stop words of one token."""
_BIAS_BYTES = 64
"""The most bytes of one entry of `logit_bias`: a token id, a number in any spelling, blanks."""


def check_sizes(arrays: Arrays, limits: Limits) -> int:
    """Raises InvalidRequest, with the name that callers know the tensor by, for the first one that is above a limit.

    `arrays` are of any model and of shape [rows, n] or longer. The work is in proportion to the number of tensors and strings.
    Returns by how many bytes of text the request is to be judged: to read 16 bytes of numbers takes as long as to encode one.
    """
    size = 0
    for tensor, array in arrays.items():
        if array.size == 1 and array.dtype != object:
            continue  # one number, which no limit forbids
        name = TEXT_NAMES.get(tensor, tensor)
        rows = array.shape[0] if array.ndim else 1
        limits.check("sequences", rows, name)
        if name == LORA_WEIGHTS:
            limits.check("lora_values", array.size, name)
        elif array.size:
            _check_count(name, array.size // rows, limits)
        if array.dtype == object:
            size += _check_bytes(name, array, limits)
        else:
            size += array.nbytes // _BYTES_OF_NUMBERS
    return size


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


def _check_bytes(name: str, array: Array, limits: Limits) -> int:
    """Returns the bytes of all rows."""
    total = 0
    for row in ((array.item(),),) if array.size == 1 else array.reshape(array.shape[0] if array.ndim else 1, -1):
        size = sum(map(len, row))
        total += size
        if name == LOGIT_BIAS:
            if size > limits.biases * _BIAS_BYTES:
                most = limits.biases * _BIAS_BYTES
                raise InvalidRequest(
                    f"{size} bytes are more than the {most} that are taken here (limits.biases); send less", name
                )
        else:
            limits.check(_BYTES.get(name, "tensor_values"), size, name)
    return total
