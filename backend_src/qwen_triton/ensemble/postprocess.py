"""Token ids to text where each chunk comes alone: what postprocessing does in an ensemble.

The bytes of a token depend on that token alone, so the bytes of all chunks joined are always those of the whole text.
Only a character split over chunks needs memory; it is kept under the client's request id where there is one, and
without one the chunk's bytes go out as they are.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

from ..tensors.arrays import Array, encode_strings
from ..text.tokenizer import Tokenizer

_FORGET_S = 600.0


class Postprocessor:
    """Decodes chunks. `skip_special_tokens`: control tokens leave no text."""

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._rest: OrderedDict[tuple[str, int, int], tuple[float, bytes]] = OrderedDict()

    def decode(self, tokens: Array, lengths: Array, request_id: str) -> Array:
        """tokens [rows, sequences, n], lengths [rows, sequences] → texts [rows, sequences] as bytes."""
        ids, counts = tokens.tolist(), lengths.tolist()
        return encode_strings(
            [
                [self._text((request_id, r, s), sequence[: counts[r][s]]) for s, sequence in enumerate(row)]
                for r, row in enumerate(ids)
            ]
        )

    def _text(self, key: tuple[str, int, int], ids: Sequence[int]) -> bytes:
        data = b"".join(
            self._tokenizer.token_bytes(i) for i in ids if not (self._skip and self._tokenizer.is_special(i))
        )
        if not key[0]:
            return data
        data = self._rest.pop(key, (0.0, b""))[1] + data
        whole = len(data) - _open_bytes(data)
        if whole < len(data):
            self._rest[key] = (time.monotonic(), data[whole:])
            self._forget()
        return data[:whole]

    def _forget(self) -> None:
        """Drops what a stream that ended in mid-character left behind."""
        old = time.monotonic() - _FORGET_S
        while self._rest and next(iter(self._rest.values()))[0] < old:
            self._rest.popitem(last=False)


def _open_bytes(data: bytes) -> int:
    """How many bytes at the end begin a character that is not complete (0 to 3)."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
        if byte < 0x80:
            return 0
    return 0
