"""Decodes token ids to text in pieces; joined, they are exactly the text of all ids decoded at once.

    detokenizer = Detokenizer(tokenizer)
    text = "".join(detokenizer.feed(ids) for ids in chunks) + detokenizer.flush()
    assert text == tokenizer.decode([i for ids in chunks for i in ids])

In byte-level BPE each token has its own bytes, so the only state is an incomplete character: at most three bytes.
Python and the tokenizers library replace invalid bytes alike (one U+FFFD for each maximal part of a character), so the
two agree on broken text as well.

Knows no stop strings.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Sequence

from .tokenizer import Tokenizer


class Detokenizer:
    """Decodes one sequence. `pending` are the bytes of a character that is incomplete."""

    __slots__ = ("_bytes", "_shown", "pending")

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._shown = tokenizer.shown_text if skip_special_tokens else tokenizer.full_text
        self._bytes = tokenizer.bytes_by_id
        self.pending = b""

    def feed(self, token_ids: Sequence[int]) -> str:
        """The text that `token_ids` complete. Ids beyond the vocabulary add nothing."""
        if not self.pending:
            shown = self._shown
            try:
                return shown[token_ids[0]] if len(token_ids) == 1 else "".join([shown[i] for i in token_ids])
            except KeyError:  # part of a character, or beyond the vocabulary
                pass
        return self._feed_bytes(token_ids)

    def flush(self) -> str:
        """The text of an incomplete character at the end: U+FFFD, or nothing."""
        text, self.pending = self.pending.decode("utf-8", "replace"), b""
        return text

    def _feed_bytes(self, token_ids: Sequence[int]) -> str:
        data = self.pending + b"".join([self._token_bytes(i) for i in token_ids])
        text, used = utf_8_decode(data, "replace", False)
        self.pending = data[used:]
        return text

    def _token_bytes(self, token_id: int) -> bytes:
        shown = self._shown.get(token_id)
        return self._bytes.get(token_id, b"") if shown is None else shown.encode()
