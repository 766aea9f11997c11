"""The keys in force: of a file that is read again when it changes, and of the environment."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from .keys import ApiKey, KeySet, parse_file, parse_variable

VARIABLE = "QWEN_TRITON_API_KEYS"
_CHECK_S = 1.0
_log = logging.getLogger(__name__)


class KeyRing:
    """Raises ConfigurationError at the start for keys that cannot be read. Later a file that went bad is logged, and
    the keys read before stay in force."""

    def __init__(
        self,
        file: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._fixed = parse_variable(environment.get(VARIABLE, ""), VARIABLE)
        self._clock = clock
        self._checked = clock()
        self.required = file is not None or bool(self._fixed)
        self._state = self._file_state()
        self._keys = self._read()

    def find(self, secret: str) -> ApiKey | None:
        """Who presents this, None for nobody we know."""
        self._refresh()
        return self._keys.find(secret)

    def _refresh(self) -> None:
        """Looks at the file, once a second at the most."""
        if self._file is None or self._clock() - self._checked < _CHECK_S:
            return
        self._checked = self._clock()
        state = self._file_state()
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = self._read()
            _log.warning("API keys read again: %d keys", len(self._keys.keys))
        except ConfigurationError as error:
            _log.error("the keys in force stay: %s", error)

    def _file_state(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file) if self._file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None

    def _read(self) -> KeySet:
        if self._file is None:
            return KeySet(self._fixed, VARIABLE)
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"api_keys_file: {self._file}: cannot be read: {error}") from None
        return KeySet([*parse_file(text, str(self._file)), *self._fixed], str(self._file))
