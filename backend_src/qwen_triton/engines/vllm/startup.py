"""The start of vLLM's processes, which say only in their log why one of them failed.

    with explained_start():
        core = VllmCore(…)      # an error of it names the cause and the remedy

Their output is passed on to this process's own; while the start lasts, so is this process's. Imports no vllm.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator

from ...errors import ConfigurationError

_KEPT_LINES = 400
_READ = 1 << 16
_DRAIN_S = 0.5
"""How long the last words of a process that has failed may take to arrive."""
_MOST = 600
"""Characters of a cause."""
_HIDDEN = "Engine core initialization failed"
"""What the caller is told in place of a cause that stands in the log."""
_PREFIX = re.compile(r"^(?:\([\w ]+ pid=\d+\) )*(?:[A-Z]+ [\d-]+ [\d:]+ \[[^\]]+\] )?")
"""Of a line of a vLLM process: its name, and level, time and place of a log record."""
_RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$")
"""The last line of a traceback."""
REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"Free memory on device .* is less than desired GPU memory utilization",
        "end what else uses the GPU (nvidia-smi shows it), or lower engine.gpu_memory_utilization",
    ),
    (
        r"No available memory for the cache blocks",
        "raise engine.gpu_memory_utilization, quantize the model, or share it among more GPUs "
        "(engine.tensor_parallel_size)",
    ),
    (
        r"To serve at least one request with the model's max seq len .*estimated maximum model length is (\d+)",
        r"set engine.max_model_len to \1 or less, engine.kv_cache_dtype: fp8, or a higher engine.tensor_parallel_size",
    ),
    (
        r"To serve at least one request with the model's max seq len",
        "lower engine.max_model_len, set engine.kv_cache_dtype: fp8, or a higher engine.tensor_parallel_size",
    ),
    (
        r"[Ww]orld size .*available GPUs",
        "lower engine.tensor_parallel_size × pipeline_parallel_size, or give the server more GPUs",
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory",
        "lower engine.gpu_memory_utilization, engine.max_num_seqs or engine.max_num_batched_tokens, or quantize the model",
    ),
    (r"Bfloat16 is only supported on GPUs", "set engine.dtype: half"),
    (
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "install driver 580 or newer, which CUDA 13 needs",
    ),
    (r"No module named '(\w+)'", r"install \1 into the interpreter that engine.python names"),
)
"""(pattern of a cause, what helps)."""


@contextlib.contextmanager
def explained_start() -> Iterator[None]:
    """Raises a ConfigurationError of the block again, with the cause and the remedy in its words."""
    log = _CopiedOutput()
    try:
        yield
    except ConfigurationError as error:
        log.restore()
        raise ConfigurationError(_explained(str(error), log)) from error
    finally:
        log.restore()


def _explained(message: str, log: _CopiedOutput) -> str:
    cause = find_cause(log.lines(_DRAIN_S)) if _HIDDEN in message else message
    if not cause:
        return f"{message}; the lines above it in the log say why"
    remedy = find_remedy(cause)
    told = cause if cause == message else f"{message.partition(_HIDDEN)[0]}{cause[:_MOST]}"
    return f"{told}; {remedy}" if remedy else told


def find_cause(lines: list[str]) -> str:
    """The message of the last error in these lines of vLLM's log that has a remedy, else of the last; empty for none."""
    raised = [m[1] for line in lines if (m := _RAISED.match(_PREFIX.sub("", line))) and _HIDDEN not in m[1]]
    return next((text for text in reversed(raised) if find_remedy(text)), raised[-1] if raised else "")


def find_remedy(cause: str) -> str:
    """What helps against a failure; empty when that is not known."""
    for pattern, remedy in REMEDIES:
        if found := re.search(pattern, cause, re.DOTALL):
            return found.expand(remedy)
    return ""


class _CopiedOutput:
    """Sends what this process and its children print through a thread, which passes it on and keeps the last lines.

    Children that started meanwhile keep this way for good; `restore()` takes this process from it.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        sys.stdout.flush()
        sys.stderr.flush()
        self._kept: tuple[int, int] | None = (os.dup(1), os.dup(2))
        read, write = os.pipe()
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        self._thread = threading.Thread(
            target=self._copy, args=(read, os.dup(self._kept[1])), name="vllm-output", daemon=True
        )
        self._thread.start()

    def restore(self) -> None:
        """This process's output goes where it went before; repeatable."""
        if self._kept is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), self._kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        self._kept = None

    def lines(self, wait_s: float) -> list[str]:
        """The last lines, those included that arrive within `wait_s` seconds."""
        self._thread.join(wait_s)
        return list(self._lines)

    def _copy(self, read: int, to: int) -> None:
        rest = b""
        with contextlib.suppress(OSError):  # nobody reads this process's output any more
            while data := os.read(read, _READ):
                os.write(to, data)
                *whole, rest = (rest + data).split(b"\n")
                rest = rest[-_READ:]
                self._lines.extend(line.decode("utf-8", "replace") for line in whole)
        os.close(read)
        os.close(to)
