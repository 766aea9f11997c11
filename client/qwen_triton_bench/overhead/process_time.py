"""Processor time of a server by process: tritonserver, each model's stub, the engine, the shim.

Taken from the operating system's accounting (in steps of 10 ms), so other load on the machine does not change it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import psutil

_MODEL_OF_STUB = re.compile(r"/(\w+)/\d+/\w+\.py")


def processor_seconds(pids: Sequence[int]) -> Counter[str]:
    """Processor seconds so far, by name, of these processes and all their children."""
    seconds: Counter[str] = Counter()
    for pid in pids:
        for process in _family(pid):
            try:
                times, words = process.cpu_times(), process.cmdline()
            except psutil.Error:
                continue  # the process has ended since it was listed
            seconds[process_name(words)] += times.user + times.system
    return seconds


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def process_name(words: Sequence[str]) -> str:
    """Name of a process by its command line: `server`, `engine`, `shim`, the model of a stub, or `other`."""
    command = " ".join(words)
    if "python_backend_stub" in command:
        stub = _MODEL_OF_STUB.search(command)
        return stub[1] if stub else "stub"
    if "qwen_triton.engines.process.main" in command:
        return "engine"
    if "shim" in words or "qwen_triton_openai.processes.worker" in words:
        return "shim"
    return "server" if words and words[0].endswith("tritonserver") else "other"
