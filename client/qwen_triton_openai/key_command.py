"""`qwen-triton key NAME`: makes an API key of the OpenAI-compatible server and the line for its keys file.

Example: qwen-triton key alice --file keys.txt --requests-per-minute 60 --concurrency 4
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from .middleware.keys import (
    LIMIT_NAMES,
    PREFIX,
    SHORTEST,
    ApiKey,
    KeyLimits,
    KeySet,
    check_name,
    digest_of,
    new_secret,
    parse_file,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The key is shown once and stored nowhere; the file holds its hash. A running server reads it anew."
    parser.add_argument("name", help="whose key it is; shown in logs and metrics")
    parser.add_argument("--file", type=Path, help="append the line to this keys file (`openai.api_keys_file`)")
    parser.add_argument(
        "--own", action="store_true", help=f"read your own key, {SHORTEST} characters or more, from stdin"
    )
    for name in LIMIT_NAMES:
        text = name.replace("_", " ")
        parser.add_argument(
            "--" + name.replace("_", "-"), type=int, default=0, metavar="N", help=f"{text} (0 = the server's)"
        )


def run(arguments: argparse.Namespace) -> int:
    """Prints the key on standard output, its line on standard error. Raises ConfigurationError. Returns exit code 0."""
    check_name(arguments.name, "NAME")
    secret = _own_secret() if arguments.own else new_secret()
    given = {name: getattr(arguments, name) for name in LIMIT_NAMES}
    if min(given.values()) < 0:
        raise ConfigurationError("a limit must not be negative")
    key = ApiKey(arguments.name, digest_of(secret), KeyLimits(**given) if any(given.values()) else None)
    if arguments.file:
        _append(arguments.file, key)
    if not arguments.own:
        print(secret)
    where = f"added to {arguments.file}:" if arguments.file else "the line for the keys file:"
    print(f"{where}\n{key.line}", file=sys.stderr)
    return 0


def _own_secret() -> str:
    secret = sys.stdin.readline().strip()
    if len(secret) < SHORTEST:
        raise ConfigurationError(f"a key needs {SHORTEST} characters or more; without --own a {PREFIX}… key is made")
    return secret


def _append(file: Path, key: ApiKey) -> None:
    """Appends the line; a new file is readable by its owner only."""
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        KeySet([*parse_file(text, str(file)), key], str(file))
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as out:
            out.write(("" if not text or text.endswith("\n") else "\n") + key.line + "\n")
    except OSError as error:
        raise ConfigurationError(f"--file: {file}: {error.strerror}") from None
