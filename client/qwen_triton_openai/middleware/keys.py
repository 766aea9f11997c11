"""API keys: names, hashes, limits, and the file and the environment variable that hold them. Secrets are never stored.

A line of the file:   NAME sha256:HEX [requests_per_minute=N] [tokens_per_minute=N] [concurrency=N]

Keys are random (256 bits), so a fast hash is as safe as a slow one and cheap enough for every request.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from qwen_triton.errors import ConfigurationError

PREFIX = "sk-"
SCHEME = "sha256:"
SHORTEST = 24
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEX = re.compile(r"[0-9a-f]{64}")
VARIABLE = "QWEN_TRITON_API_KEYS"
_CHECK_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Requests and tokens per minute, and requests at once, of one key; 0 = no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0


LIMIT_NAMES = tuple(field.name for field in fields(KeyLimits))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key. `digest`: SHA-256 of the secret in hex; `limits`: None = those of the deployment."""

    name: str
    digest: str
    limits: KeyLimits | None = None

    @property
    def line(self) -> str:
        """The key's line of the file."""
        given = {name: getattr(self.limits, name) for name in LIMIT_NAMES} if self.limits else {}
        return " ".join([self.name, SCHEME + self.digest, *(f"{k}={v}" for k, v in given.items() if v)])


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def check_name(name: str, location: str) -> None:
    """Raises ConfigurationError for a name that does not fit a line of the file or a metric's label."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{location}: a key's name is 1 to 64 letters, digits, dots, dashes and underscores")


def parse_key(line: str, location: str) -> ApiKey:
    """Decodes one line of the file. Raises ConfigurationError with the location and not the text: it may be a secret."""
    name, _, rest = line.partition(" ")
    words = rest.split()
    check_name(name, location)
    if not words or not words[0].startswith(SCHEME) or not _HEX.fullmatch(words[0].removeprefix(SCHEME)):
        raise ConfigurationError(f"{location}: expected NAME sha256:HEX; `qwen-triton key {name}` makes such a line")
    return ApiKey(name, words[0].removeprefix(SCHEME), _limits(words[1:], location))


def _limits(words: Iterable[str], location: str) -> KeyLimits | None:
    given = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in LIMIT_NAMES or not value.isdigit():
            raise ConfigurationError(f"{location}: expected {', '.join(f'{n}=N' for n in LIMIT_NAMES)}, got {word!r}")
        given[name] = int(value)
    return KeyLimits(**given) if given else None


def parse_file(text: str, location: str) -> list[ApiKey]:
    """Keys of a file's text; empty lines and lines that begin with # are skipped. Raises ConfigurationError."""
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [parse_key(line, f"{location}:{number}") for number, line in lines if line and not line.startswith("#")]


def parse_variable(text: str, location: str) -> list[ApiKey]:
    """Keys of the environment variable: NAME=KEY or NAME=sha256:HEX, separated by commas. Raises ConfigurationError."""
    found = []
    for number, item in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        name, _, value = item.partition("=")
        if len(value) < SHORTEST:
            raise ConfigurationError(
                f"{location}: item {number}: expected NAME=KEY, the key of {SHORTEST} characters or more"
            )
        hashed = value if value.startswith(SCHEME) else SCHEME + digest_of(value)
        found.append(parse_key(f"{name} {hashed}", f"{location}: item {number}"))
    return found


class KeySet:
    """Keys by name, searched by the secret that a client sends. Raises ConfigurationError for two of one name."""

    def __init__(self, keys: Iterable[ApiKey], location: str) -> None:
        self.keys: Mapping[str, ApiKey] = {}
        by_name: dict[str, ApiKey] = {}
        for key in keys:
            if by_name.setdefault(key.name, key) is not key:
                raise ConfigurationError(f"{location}: two keys are named {key.name}")
        self.keys = by_name

    def find(self, secret: str) -> ApiKey | None:
        """The key of a secret. Compares with every key in constant time, so that timing reveals nothing."""
        digest = digest_of(secret)
        found = None
        for key in self.keys.values():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


class KeyRing:
    """The keys in force: those of the file, read again when it changes, and those of the environment variable.

    Raises ConfigurationError at the start for keys that cannot be read; later such a file is logged and the former keys
    stay in force.
    """

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
        """The key of a secret; None when it is unknown."""
        self._refresh()
        return self._keys.find(secret)

    def named(self, name: str) -> ApiKey | None:
        """The key of a name; None when there is none. A name that is unknown is looked for in the file at once."""
        self._refresh()
        if name not in self._keys.keys:
            self._checked = -math.inf
            self._refresh()
        return self._keys.keys.get(name)

    def _refresh(self) -> None:
        """Reads the file again if it has changed; checks that at most once a second."""
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
