"""Keeps a process's files, shared-memory regions and sockets to its user, whatever the process asks for.

A umask is not enough: Triton's Python backend makes its shared-memory regions with a library (boost.interprocess) that
gives them mode 0644 by fchmod, and callers' prompts are in them. So besides the umask the kernel filters that one call:
an fchmod that would open a file to other users succeeds and does nothing. Both pass on to all processes that it starts.
"""

from __future__ import annotations

import ctypes
import platform
import struct

UMASK = 0o077
_OTHERS = 0o077
_MACHINES = {"x86_64": (0xC000003E, 91, 317), "aarch64": (0xC00000B7, 52, 277)}
"""{machine: (the kernel's number of its architecture, the numbers of the calls fchmod and seccomp)}."""
_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER = 1
_NOT_SLOWER = 4
"""Kernels before 5.16 slow a process with a filter down, as a measure against Spectre, unless it declines."""
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000
"""What a filter answers: make the call; make no call and return error number 0, which is success."""
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
"""Instructions of a filter (BPF): load a word, jump if equal, jump if any bit is set, return."""
_NUMBER, _ARCHITECTURE, _MODE = 0, 4, 24
"""Offsets in what a filter sees of a call; the mode is the low word of its second argument."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def _instructions(architecture: int, fchmod: int) -> list[tuple[int, int, int, int]]:
    """The filter: (operation, instructions to skip if true, if false, operand)."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 0, 3, fchmod),
        (_LOAD, 0, 0, _MODE),
        (_IF_ANY_BIT, 0, 1, _OTHERS),
        (_RETURN, 0, 0, _SUCCEED),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _program() -> _Program | None:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return None
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _instructions(*machine[:2]))
    return _Program(len(code) // 8, code)


_LIBC = ctypes.CDLL(None, use_errno=True)
_PROGRAM = _program()
_SECCOMP = _MACHINES.get(platform.machine(), (0, 0, 0))[2]


def keep_files_private() -> bool:
    """Filters fchmod in this process and in those that it starts, for good. False where the kernel does not take it.

    The process and its children can no longer gain privileges by starting a setuid program (no_new_privs), without which
    the kernel gives a filter to nobody but root. Set the umask `UMASK` as well.
    """
    if _PROGRAM is None or _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(_LIBC.syscall(_SECCOMP, _SET_FILTER, _NOT_SLOWER, ctypes.byref(_PROGRAM)) == 0)
