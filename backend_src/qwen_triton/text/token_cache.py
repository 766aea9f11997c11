"""Keeps the token ids of pieces of prompts, so that the next turn of a conversation encodes only what is new in it.

A piece is the text between two control tokens. They split a text before anything else looks at it, so the ids of a piece
depend on that piece alone, whatever stands before it: a turn that was left out, edited or moved changes no other. Pieces
are found by a keyed digest, so the texts themselves are not kept, and nobody can prepare two with one digest.
"""

from __future__ import annotations

import secrets
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from threading import Lock

_ENTRY_BYTES = 320
"""Memory of a kept piece beside its ids: digest, array and place in the table (CPython 3.11; measured by a test)."""


class TokenCache:
    """Token ids by piece of text, the least recently used ones given up beyond `max_bytes`. Thread-safe.

    `long_text`: characters of a prompt from which on its pieces are looked for, so that small prompts do not pay for it;
    `shortest_piece`: characters of a piece that is worth an entry.
    """

    def __init__(self, max_bytes: int, long_text: int = 4096, shortest_piece: int = 64) -> None:
        self.long_text = long_text
        self.shortest_piece = shortest_piece
        self.bytes = 0
        """Memory of what is kept."""
        self.queries = 0
        """Tokens of the pieces that were looked for."""
        self.hits = 0
        """Tokens of the pieces that were found."""
        self._max_bytes = max_bytes
        self._key = secrets.token_bytes(16)
        self._entries: OrderedDict[bytes, array[int]] = OrderedDict()
        self._lock = Lock()

    def states(self) -> dict[str, float]:
        """The counters and the size, by the name of their metric."""
        return {
            "token_cache_queries_total": self.queries,
            "token_cache_hits_total": self.hits,
            "token_cache_bytes": self.bytes,
        }

    def digest(self, text: str) -> bytes:
        """The key of a piece. A text that is not valid Unicode has one too, though it has no ids."""
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()

    def find(self, digest: bytes) -> Sequence[int] | None:
        """The ids of the piece with this digest; None where they are not kept."""
        with self._lock:
            ids = self._entries.get(digest)
            if ids is not None:
                self._entries.move_to_end(digest)
                self.hits += len(ids)
                self.queries += len(ids)
            return ids

    def add(self, digest: bytes, ids: Sequence[int]) -> None:
        """Keeps the ids of a piece that was not found."""
        kept = array("i", ids)
        size = _size_of(kept)
        with self._lock:
            self.queries += len(kept)
            if digest in self._entries or size > self._max_bytes:
                return
            self._entries[digest] = kept
            self.bytes += size
            while self.bytes > self._max_bytes:
                self.bytes -= _size_of(self._entries.popitem(last=False)[1])


def _size_of(ids: array[int]) -> int:
    return _ENTRY_BYTES + ids.itemsize * len(ids)
