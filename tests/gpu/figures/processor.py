"""Processor seconds of a server by group of processes, from the operating system's accounting (in steps of 10 ms)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import psutil

from qwen_triton_bench.overhead.process_time import process_name

Seconds = Counter[str]
_OURS = {"server": "server", "tensorrt_llm_bls": "bls", "engine": "engine", "shim": "shim", "stub": "server"}
_STUBS = {"preprocessing", "postprocessing", "tensorrt_llm"}


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; none when it has ended."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def processor_seconds(pid: int, group: Callable[[list[str]], str]) -> Seconds:
    """Seconds so far of the process and its descendants by group; `group` names that of a command line.

    A descendant without a name of its own, such as one that multiprocessing has started, belongs to its parent's group.
    """
    seconds: Seconds = Counter()
    groups: dict[int, str] = {}
    for process in family(pid):
        try:
            times, words, parent = process.cpu_times(), process.cmdline(), process.ppid()
        except psutil.Error:
            continue  # it has ended since it was listed
        groups[process.pid] = group(words) or groups.get(parent, "other")
        seconds[groups[process.pid]] += times.user + times.system
    return seconds


def group_of_vllm(words: list[str]) -> str:
    """`core` or `front`, or nothing for a process that does not say."""
    command = " ".join(words)
    if "EngineCore" in command or "VLLM::Worker" in command:
        return "core"
    return "front" if any(name in command for name in ("APIServer", "vllm-rs", "cli.main")) else ""


def group_of_ours(words: list[str]) -> str:
    """`server`, `bls`, `models` (the other stubs), `shim`, `engine` or `core`, or nothing."""
    if group_of_vllm(words) == "core":
        return "core"
    name = process_name(words)
    if name in _STUBS:
        return "models"
    if name == "other":
        return "serve" if "serve" in words else "core" if "spawn_main" in " ".join(words) else ""
    return _OURS[name]
