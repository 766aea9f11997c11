"""Processor time of a server by process: tritonserver itself, each model's stub, the engine, the shim.

From the operating system's own accounting, so that it holds on a busy machine too (in steps of 10 ms).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import psutil

_MODEL_OF_STUB = re.compile(r"/(\w+)/\d+/\w+\.py")


def processor_seconds(pids: Sequence[int]) -> Counter[str]:
    """Seconds so far of these processes and all their children, by name."""
    found: Counter[str] = Counter()
    for pid in pids:
        for process in _family(pid):
            try:
                times, words = process.cpu_times(), process.cmdline()
            except psutil.Error:
                continue  # it ended meanwhile
            found[process_name(words)] += times.user + times.system
    return found


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def process_name(words: Sequence[str]) -> str:
    """What a process of the line is, by its command line: «server», «engine», «shim», or its stub's model."""
    line = " ".join(words)
    if "python_backend_stub" in line:
        stub = _MODEL_OF_STUB.search(line)
        return stub[1] if stub else "stub"
    if "qwen_triton.engines.process.main" in line:
        return "engine"
    if "shim" in words:
        return "shim"
    return "server" if words and words[0].endswith("tritonserver") else "other"
