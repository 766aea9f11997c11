"""The table of limits: the most of everything whose size a caller chooses, checked before any work is done with it.

One row a limit, with its default, its unit and what it counts. A deployment sets them by the keys of its section `limits:`,
which are rendered into the models' parameters, so that all ways in have the same. Knows no tensors and no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from .errors import ConfigurationError, InvalidRequest
from .types import GenerateRequest

KIB = 1 << 10
MIB = 1 << 20


def _most(default: int, unit: str, counted: str) -> Any:
    return field(default=default, metadata={"unit": unit, "help": counted})


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each thing in one request; `LIMITS` holds the rows. Sizes are in bytes, all others are counts.

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
    sequences: int = _most(1024, "sequences", "prompts times n (or best_of, or the beams)")
    tensor_values: int = _most(MIB, "values", "values of any other tensor in a row, or bytes of its text")
    answer_tokens: int = _most(4 * MIB, "token ids", "token ids that are to be decoded")
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


def too_many(name: str, size: int, most: int) -> str:
    """The message of every refusal by the table: what was sent, the limit, and the key that sets it."""
    return f"{size} {LIMITS[name].metadata['unit']} are more than the {most} that are taken here (limits.{name}); send less"


def utf8_bytes(texts: Iterable[str]) -> int:
    """The length of all texts in UTF-8, of a lone surrogate three bytes."""
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def check_requests(requests: Sequence[GenerateRequest], limits: Limits) -> None:
    """Checks all prompts of one request, before one of them is tokenized. Raises InvalidRequest naming field and limit."""
    sequences = 0
    for request in requests:
        _check_request(request, limits)
        sequences += sequences_of(request)
    limits.check("sequences", sequences, "num_return_sequences")


def sequences_of(request: GenerateRequest) -> int:
    """How many sequences an engine generates for a request."""
    return max(request.sampling.sequences, request.sampling.beam_width)


def _check_request(request: GenerateRequest, limits: Limits) -> None:
    if request.prompt is not None:
        limits.check("prompt_bytes", utf8_bytes((request.prompt,)), "text_input")
    if request.token_ids is not None:
        limits.check("prompt_tokens", len(request.token_ids), "input_ids")
    limits.check("messages", len(request.messages or ()), "messages")
    limits.check("tools", len(request.tools), "tools")
    limits.check("stop_strings", len(request.stop.strings), "stop_words")
    limits.check("stop_bytes", utf8_bytes(request.stop.strings), "stop_words")
    limits.check("stop_ids", len(request.stop.token_ids), "stop_token_ids")
    limits.check("bad_words", len(request.bias.bad_words), "bad_words")
    limits.check("words_bytes", utf8_bytes(request.bias.bad_words), "bad_words")
    limits.check("biases", len(request.bias.words), "embedding_bias_words")
    limits.check("words_bytes", utf8_bytes(word for word, _ in request.bias.words), "embedding_bias_words")
    limits.check("biases", len(request.bias.token_ids), "logit_bias")
