"""A cache of texts with a bound in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from sys import getsizeof
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class TextCache(Generic[_Key]):
    """Keeps the latest texts, up to `most_bytes` of keys and texts together, but always one. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._texts: OrderedDict[_Key, tuple[str, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._held = 0

    def get(self, key: _Key, spec: str, make: Callable[[], str]) -> str:
        """The text of a key, made where it is not kept. `spec`: the memory of the key. Raises as `make` does."""
        with self._lock:
            if key in self._texts:
                self._texts.move_to_end(key)
                return self._texts[key][0]
        text = make()
        size = getsizeof(spec) + getsizeof(text)
        with self._lock:
            self._held += size - self._texts.pop(key, ("", 0))[1]
            self._texts[key] = text, size
            while self._held > self._most_bytes and len(self._texts) > 1:
                self._held -= self._texts.popitem(last=False)[1][1]
        return text
