"""Arrays to requests and back, at the edges only. Every tensor has a leading dimension of rows (prompts).

`decode_x` reads what `encode_x` writes. Arrays come as {wire name: array}; BYTES tensors as object arrays of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .contract import Tensor
from .errors import InvalidRequest
from .types import MAX_SEQUENCES, GenerateRequest, PromptFormat, SamplingParams, StopConditions, TokenBias

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
_Decoded = TypeVar("_Decoded")

NUMPY = {
    "TYPE_STRING": np.object_,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_UINT64": np.uint64,
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_BOOL": np.bool_,
}


def count_rows(arrays: Arrays) -> int:
    """How many prompts the arrays hold. Raises InvalidRequest when they disagree or there is none."""
    rows = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if not rows:
        raise InvalidRequest("a prompt is text, messages or token ids: give one of them", "text_input")
    first, count = next(iter(rows.items()))
    for name, n in rows.items():
        if n != count or n == 0:
            raise InvalidRequest(f"has {n} rows where {first} has {count}; give one row for each prompt", name)
    return count


class Row:
    """One row of the arrays, read by wire name; None for what was not sent. Errors name the tensor."""

    def __init__(self, arrays: Arrays, row: int) -> None:
        self._arrays = arrays
        self._row = row

    def values(self, name: str) -> list[Any] | None:
        """All values of the row, flattened."""
        array = self._arrays.get(name)
        return None if array is None else list(array[self._row].reshape(-1).tolist())

    def scalar(self, name: str) -> Any:
        values = self.values(name)
        if values is None:
            return None
        if len(values) != 1:
            raise InvalidRequest(f"expected one value for each prompt, got {len(values)}", name)
        return values[0]

    def flag(self, name: str) -> bool | None:
        value = self.scalar(name)
        return None if value is None else bool(value)

    def text(self, name: str) -> str | None:
        value = self.scalar(name)
        return None if value is None else _as_text(value, name)

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of a list; an empty one is stock's way to say «none»."""
        return tuple(t for v in self.values(name) or () if (t := _as_text(v, name)))

    def json(self, name: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
        """A JSON value of the given kind; None when absent or empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"is not valid JSON: {error}", name) from None
        if not isinstance(value, kind):
            expected = "a list" if kind is list else "an object"
            raise InvalidRequest(f"expected {expected} as JSON, got {type(value).__name__}", name)
        return value


def _as_text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"is not valid UTF-8 at byte {error.start}", name) from None


def first_given(row: Row, *names: str) -> Any:
    """The value under the first of several names that was sent; two different values are refused."""
    given = {name: value for name in names if (value := row.scalar(name)) is not None}
    if len(set(given.values())) > 1:
        raise InvalidRequest(f"is another name of {names[0]}; give one of them", names[1])
    return next(iter(given.values()), None)


def decode_logprobs(row: Row) -> int | None:
    """`return_log_probs` and `top_logprobs` as SamplingParams.logprobs."""
    top = row.scalar("top_logprobs")
    if not row.flag("return_log_probs"):
        if top:
            raise InvalidRequest("needs return_log_probs = true", "top_logprobs")
        return None
    return int(top or 0)


def decode_counts(row: Row) -> tuple[int, int]:
    """(`num_return_sequences`, `beam_width`); a beam search returns all its beams where nothing else is said."""
    beam_width = _count(row, "beam_width", 1)
    return _count(row, "num_return_sequences", beam_width), beam_width


def _count(row: Row, name: str, default: int) -> int:
    value = row.scalar(name)
    if value is not None and not 1 <= value <= MAX_SEQUENCES:
        raise InvalidRequest(f"must be in [1, {MAX_SEQUENCES}], got {value}", name)
    return default if value is None else int(value)


def decode_sampling(row: Row) -> SamplingParams:
    """Sampling parameters as a text model's tensors spell them."""
    sequences, beam_width = decode_counts(row)
    return SamplingParams(
        max_tokens=row.scalar("max_tokens"),
        min_tokens=first_given(row, "min_tokens", "min_length") or 0,
        temperature=row.scalar("temperature"),
        top_k=row.scalar("top_k"),
        top_p=row.scalar("top_p"),
        min_p=row.scalar("min_p"),
        repetition_penalty=row.scalar("repetition_penalty"),
        presence_penalty=row.scalar("presence_penalty"),
        frequency_penalty=row.scalar("frequency_penalty"),
        length_penalty=row.scalar("length_penalty"),
        seed=first_given(row, "seed", "random_seed"),
        logprobs=decode_logprobs(row),
        n=sequences,
        best_of=row.scalar("best_of"),
        beam_width=beam_width,
    )


def pair_words(words: Sequence[str], weights: Sequence[float], name: str) -> tuple[tuple[str, float], ...]:
    """Biased words with their weights. Raises InvalidRequest when there are not as many of both."""
    if len(words) != len(weights):
        raise InvalidRequest(f"has {len(weights)} values for {len(words)} words", name)
    return tuple(zip(words, map(float, weights), strict=True))


def decode_bias(row: Row) -> TokenBias:
    """Bad words, biased words (stock) and biased token ids (`logit_bias`, a JSON object)."""
    words, weights = row.texts("embedding_bias_words"), row.values("embedding_bias_weights") or []
    ids = row.json("logit_bias", dict) or {}
    try:
        by_id = {int(k): float(v) for k, v in ids.items()}
    except (TypeError, ValueError):
        raise InvalidRequest("expected an object from token id to number", "logit_bias") from None
    return TokenBias(row.texts("bad_words"), pair_words(words, weights, "embedding_bias_weights"), by_id)


def decode_prompt_format(row: Row) -> PromptFormat | None:
    value = row.text("prompt_format")
    if value not in (None, "", "raw", "chat"):
        raise InvalidRequest(f"expected raw or chat, got {value!r}", "prompt_format")
    return value or None  # type: ignore[return-value]  # the line above leaves the two literals


_REFUSED = {
    "decoder_text_input": "Qwen has no encoder-decoder form",
    "image_input": "images are not supported by this model",
    "prompt_embedding_table": "prompt tuning is not supported",
    "prompt_vocab_size": "prompt tuning is not supported",
    "prompt_table_extra_id": "prompt tuning is not supported",
    "num_draft_tokens": "speculative decoding with a draft model is not supported",
    "use_draft_logits": "speculative decoding with a draft model is not supported",
    "return_context_logits": "logits are not returned; use return_log_probs",
    "return_generation_logits": "logits are not returned; use return_log_probs",
}


def refuse_unsupported(row: Row, refused: Mapping[str, str] = _REFUSED) -> None:
    """Raises InvalidRequest for an input that stock declares and nothing here can honour, unless it is empty or false."""
    for name, reason in refused.items():
        if any(row.values(name) or ()):
            raise InvalidRequest(f"{reason}; leave it out", name)


def decode_rows(arrays: Arrays, decode: Callable[[Row], _Decoded]) -> list[_Decoded]:
    """What `decode` makes of each row. Raises InvalidRequest naming the tensor (and the row, where there are several)."""
    rows = count_rows(arrays)
    decoded = []
    for number in range(rows):
        try:
            decoded.append(decode(Row(arrays, number)))
        except InvalidRequest as error:
            if rows == 1:
                raise
            raise InvalidRequest(f"{error} (row {number})") from None
    return decoded


def decode_generate(arrays: Arrays) -> list[GenerateRequest]:
    """A text model's input arrays as one request a row. Raises InvalidRequest naming the tensor (and the row)."""
    return decode_rows(arrays, _decode_row)


def _decode_row(row: Row) -> GenerateRequest:
    refuse_unsupported(row)
    messages = row.json("messages", list)
    ids = row.values("input_ids")
    text = row.text("text_input")
    exclude = row.flag("exclude_input_in_output")
    return GenerateRequest(
        prompt=text if text or (messages is None and ids is None) else None,
        messages=None if messages is None else tuple(messages),
        token_ids=None if ids is None else tuple(ids),
        tools=tuple(row.json("tools", list) or ()),
        template_options=row.json("chat_template_kwargs", dict) or {},
        prompt_format=decode_prompt_format(row),
        sampling=decode_sampling(row),
        stop=StopConditions(
            row.texts("stop_words"),
            tuple(row.values("stop_token_ids") or ()),
            row.flag("include_stop_str_in_output") or False,
            row.flag("ignore_eos") or False,
        ),
        bias=decode_bias(row),
        end_id=row.scalar("end_id"),
        pad_id=row.scalar("pad_id"),
        stream=row.flag("stream") or False,
        count_pieces=row.flag("return_num_output_tokens") or False,
        accumulate=row.flag("accumulate_tokens"),
        echo=None if exclude is None else not exclude,
    )


def encode_generate(request: GenerateRequest) -> dict[str, Array]:
    """A request as a text model's input arrays, one row; what is at its default is left out."""
    values: dict[str, Any] = {
        "text_input": request.prompt,
        "messages": _dump(request.messages),
        "input_ids": request.token_ids,
        "tools": _dump(request.tools),
        "chat_template_kwargs": _dump(request.template_options),
        "prompt_format": request.prompt_format,
        "stop_words": request.stop.strings,
        "stop_token_ids": request.stop.token_ids,
        "include_stop_str_in_output": request.stop.include_in_output or None,
        "ignore_eos": request.stop.ignore_eos or None,
        "bad_words": request.bias.bad_words,
        "embedding_bias_words": [w for w, _ in request.bias.words],
        "embedding_bias_weights": [b for _, b in request.bias.words],
        "logit_bias": _dump({str(k): v for k, v in request.bias.token_ids.items()}),
        "end_id": request.end_id,
        "pad_id": request.pad_id,
        "stream": request.stream or None,
        "return_num_output_tokens": request.count_pieces or None,
        "accumulate_tokens": request.accumulate,
        "exclude_input_in_output": None if request.echo is None else not request.echo,
        **_sampling_values(request.sampling),
    }
    return {name: array for name, value in values.items() if (array := encode_row(name, value)) is not None}


def _sampling_values(sampling: SamplingParams) -> dict[str, Any]:
    same = (
        "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty", "length_penalty", "seed", "best_of",
    )  # fmt: skip
    return {name: getattr(sampling, name) for name in same} | {
        "min_tokens": sampling.min_tokens or None,
        "return_log_probs": True if sampling.logprobs is not None else None,
        "top_logprobs": sampling.logprobs or None,
        "num_return_sequences": sampling.n if sampling.n > 1 else None,
        "beam_width": sampling.beam_width if sampling.beam_width > 1 else None,
    }


def _dump(value: Sequence[Any] | Mapping[Any, Any] | None) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def encode_row(name: str, value: Any) -> Array | None:
    """One input of the text models as an array of one row; None for a value that is None or empty."""
    if value is None or (isinstance(value, (tuple, list)) and not value):
        return None
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    dtype = NUMPY[_DTYPES[name]]
    if dtype is np.object_:
        values = [v.encode() for v in values]
    return np.array([values], dtype=dtype)


def _dtypes() -> dict[str, str]:
    from .contract import BLS_INPUTS

    return {t.name: t.dtype for t in BLS_INPUTS}


_DTYPES = _dtypes()


def encode_strings(values: Sequence[Sequence[str | bytes]]) -> Array:
    """Rows of strings as a BYTES array [rows, n]; all rows have the same length."""
    array = np.empty((len(values), len(values[0]) if values else 0), dtype=np.object_)
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            array[r, c] = value.encode() if isinstance(value, str) else value
    return array


def check_input(tensor: Tensor, array: Array) -> None:
    """Raises InvalidRequest when an array's rank is not the tensor's (Triton checks types and fixed dimensions)."""
    rank = 1 + len(tensor.dims if tensor.reshape is None else tensor.reshape)
    if array.ndim != rank:
        raise InvalidRequest(f"expected {rank} dimensions with the batch, got {array.ndim}", tensor.name)
