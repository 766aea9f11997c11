"""Keeps texts that were computed of texts of callers, such as grammars of schemas: the latest, in bounded memory."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

_ENTRY_BYTES = 512
"""What an entry takes beside its two texts."""


class LatestTexts:
    """At most `most` of them, of `most_bytes` with what they were computed of. Thread-safe."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._texts: OrderedDict[tuple[str, Hashable], str] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def held_bytes(self) -> int:
        """The memory of all that is kept."""
        return self._bytes

    def get(self, source: str, kind: Hashable, compute: Callable[[], str]) -> str:
        """The text of `source`, of which there may be one for each `kind`.

        One that is larger than all that may be kept is computed each time. Raises what `compute` raises, and keeps nothing.
        """
        key = (source, kind)
        with self._lock:
            if key in self._texts:
                self._texts.move_to_end(key)
                return self._texts[key]
        text = compute()
        size = _size(source, text)
        if size <= self._most_bytes:
            with self._lock:
                if key not in self._texts:
                    self._bytes += size
                self._texts[key] = text
                self._drop()
        return text

    def _drop(self) -> None:
        while len(self._texts) > self._most or self._bytes > self._most_bytes:
            (source, _), text = self._texts.popitem(last=False)
            self._bytes -= _size(source, text)


def _size(source: str, text: str) -> int:
    return sys.getsizeof(source) + sys.getsizeof(text) + _ENTRY_BYTES
