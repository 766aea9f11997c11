"""Decodes token ids to text chunk by chunk, as the postprocessing model of an ensemble does.

The bytes of a token depend on that token alone, so the joined bytes of all chunks are always those of the whole text.
Only a character that is split over chunks needs state. It is kept under the client's request id; for a request without
an id the chunk's bytes are sent as they are.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

from ..errors import InvalidRequest
from ..tensors.arrays import Array, encode_flat_strings
from ..tensors.contract import POST_SEQUENCE_LENGTH, POST_TOKENS_BATCH
from ..tensors.rows import each_row
from ..text.tokenizer import Tokenizer

_KEEP_S = 600.0
_MOST_KEPT = 65_536
"""Streams whose incomplete character is kept: a caller chooses the ids, so their number has a bound. The oldest go first."""


class Postprocessor:
    """Decodes chunks, the first as fast as all others. `skip_special_tokens`: control tokens have no text."""

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        tokenizer.prepare_decoding(skip_special_tokens)
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._incomplete: OrderedDict[tuple[str, int, int], tuple[float, bytes]] = OrderedDict()

    def decode(self, tokens: Array, lengths: Array, request_id: str) -> Array:
        """`tokens` [rows, sequences, n] with `lengths` [rows, sequences] as texts [rows * sequences], UTF-8 bytes.

        One dimension, as stock has it: its clients take the first text with `[0]`. Raises InvalidRequest for lengths of
        other rows and sequences, for a length that is not in 0 to n, and for an id that the model cannot have.
        """
        if lengths.shape != tokens.shape[:2]:
            raise _other_shape(list(lengths.shape), list(tokens.shape[:2]))
        rows = each_row(list(zip(tokens.tolist(), lengths.tolist(), strict=True)), self._counted)
        return encode_flat_strings(
            self._text((request_id, r, s), ids) for r, row in enumerate(rows) for s, ids in enumerate(row)
        )

    def _counted(self, row: tuple[list[list[int]], list[int]]) -> list[list[int]]:
        """The ids of one row's sequences without the padding behind each."""
        return [self._checked(ids, count) for ids, count in zip(*row, strict=True)]

    def _checked(self, ids: list[int], count: int) -> list[int]:
        """The first `count` ids. What precedes this model in an ensemble keeps to the rules; who asks it alone may not."""
        if not 0 <= count <= len(ids):
            raise InvalidRequest(f"is {count} where {POST_TOKENS_BATCH} has {len(ids)} ids", POST_SEQUENCE_LENGTH)
        counted, size = ids[:count], self._tokenizer.model_vocab_size
        if counted and not (min(counted) >= 0 and max(counted) < size):
            wrong = next(i for i in counted if not 0 <= i < size)
            raise InvalidRequest(f"token id {wrong} is not in [0, {size})", POST_TOKENS_BATCH)
        return counted

    def _text(self, key: tuple[str, int, int], ids: Sequence[int]) -> bytes:
        data = b"".join(
            self._tokenizer.token_bytes(i) for i in ids if not (self._skip and self._tokenizer.is_special(i))
        )
        if not key[0]:
            return data
        data = self._incomplete.pop(key, (0.0, b""))[1] + data
        whole = len(data) - _incomplete_bytes(data)
        if whole < len(data):
            self._incomplete[key] = (time.monotonic(), data[whole:])
            self._drop_old()
        return data[:whole]

    def _drop_old(self) -> None:
        """Drops the bytes of streams that ended within a character, and the oldest where too many are kept."""
        old = time.monotonic() - _KEEP_S
        while self._incomplete and (
            len(self._incomplete) > _MOST_KEPT or next(iter(self._incomplete.values()))[0] < old
        ):
            self._incomplete.popitem(last=False)


def _other_shape(given: list[int], expected: list[int]) -> InvalidRequest:
    return InvalidRequest(
        f"has shape {given} where {POST_TOKENS_BATCH} has {expected} rows and sequences; give one length for each",
        POST_SEQUENCE_LENGTH,
    )


def _incomplete_bytes(data: bytes) -> int:
    """The number of bytes at the end that begin an incomplete character (0 to 3)."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
        if byte < 0x80:
            return 0
    return 0
