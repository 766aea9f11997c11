"""Overwrites a secret in the arguments of a running process, which every user of the machine can read in /proc."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_STARTS, _ENDS = 45, 46
"""Fields of /proc/PID/stat after the name: where the arguments begin and end in the process's memory."""


def hide_argument(pids: Iterable[int], secret: str) -> bool:
    """Whether none of the processes has the secret in its arguments any more.

    A process must have read its arguments before. Writing to its memory needs the rights of a debugger: the same user, and
    where the kernel restricts that (yama), an ancestor.
    """
    hidden = [_hide(pid, secret.encode()) for pid in pids]
    return all(hidden)


def _hide(pid: int, secret: bytes) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        if secret not in (process / "cmdline").read_bytes():
            return True
        fields = (process / "stat").read_text().rpartition(") ")[2].split()
        start, end = int(fields[_STARTS]), int(fields[_ENDS])
        with (process / "mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            memory.seek(start)
            memory.write(arguments.replace(secret, b"x" * len(secret)))
        return secret not in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
