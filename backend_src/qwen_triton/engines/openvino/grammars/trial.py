"""The trial of a grammar: it is compiled for a sample of the vocabulary in a process of its own, which may be ended.

The library compiles within the engine's process and cannot be stopped there, and for some grammars of a few lines it takes
hours. This module is both ends: the engine's, and the program. To the program: the length of a grammar in four bytes, and
the grammar. From it: a line of JSON once it is loaded, then one for each grammar.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from .vocabulary import SAMPLE, SAMPLE_END

_PR_SET_PDEATHSIG = 1
_TOKENS, _TOKEN_S = 64, 0.1
"""Tokens that are drawn of each grammar, and the most seconds that choosing one may take: all sequences wait for that."""
_TIMES = 10
"""CPU time for the whole vocabulary by that for the sample: measured 8 to 12 for broad texts, less for others."""
_MEMORY = 2 << 30
_LOAD_S, _WALL, _LOOK_S = 120.0, 20.0, 0.25
"""Seconds in which the program must have loaded, times its CPU time that it may take on a busy machine, and seconds between two
looks at its memory, which has no limit by address space: the stacks of a server's threads take gigabytes of that."""


_REMEDY = "write it with fewer repetitions within repetitions, alternatives that begin alike, and bounds of broad texts"


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial found: the CPU time in seconds that the whole vocabulary will take, or why the grammar is refused."""

    cpu_s: float = 0.0
    refusal: str = ""


class Trial:
    """Tries grammars, one at a time, from one thread: the program ends when that thread does. `most_s`: see Tried.cpu_s."""

    def __init__(self, folder: Path, most_s: float) -> None:
        self._folder = folder
        self._most_s = most_s
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, grammar: str) -> Tried:
        """Tries a grammar. Raises RuntimeError when the program does not load."""
        process = self._started()
        text = grammar.encode()
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).write(len(text).to_bytes(4, "big") + text)
            _pipe(process.stdin).flush()
        answer = _line(process, self._share_s * _WALL + _LOAD_S)
        if answer is None:
            return Tried(refusal=self._ended())
        cpu_s, token_s = (float(answer[name]) * _TIMES for name in ("cpu_s", "token_s"))
        if answer["error"]:
            return Tried(refusal=f"openvino-genai cannot compile it: {answer['error']}")
        if token_s > _TOKEN_S:
            return Tried(
                refusal=f"choosing a token of it takes more than {_TOKEN_S:g} s (engine.form_compile_s); {_REMEDY}"
            )
        return Tried(cpu_s, self._too_long() if cpu_s > self._most_s else "")

    def close(self) -> None:
        """Ends the program."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def _share_s(self) -> float:
        return self._most_s / _TIMES

    def _too_long(self) -> str:
        return f"compiling it would take more than {self._most_s:g} s of CPU (engine.form_compile_s); {_REMEDY}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._folder / SAMPLE), str(self._share_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            if _line(self._process, _LOAD_S) is None:
                self.close()
                raise RuntimeError("the process in which grammars are tried does not start; the log says why")
        return self._process

    def _ended(self) -> str:
        """Why the program ended in a trial."""
        process = self._process
        code = None if process is None else process.poll()
        self.close()
        if code is None or code == -signal.SIGXCPU:
            return self._too_long()
        return f"openvino-genai fails on it, or needs more than {_MEMORY >> 30} GiB to compile it; make it simpler"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _line(process: subprocess.Popen[bytes], wait_s: float) -> dict[str, Any] | None:
    """The program's next line; None when it has ended, says nothing for so long, or has taken too much memory."""
    out, until = _pipe(process.stdout), time.monotonic() + wait_s
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        while not selector.select(_LOOK_S):
            if time.monotonic() > until:
                return None
            if _resident(process.pid) > _MEMORY:
                process.kill()
    line = out.readline()
    if not line:
        process.wait()
        return None
    found: dict[str, Any] = json.loads(line)
    return found


def _resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 for one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def compiled(pipeline: genai.ContinuousBatchingPipeline, grammar: str, end_id: int, tokens: int = 1) -> str:
    """Has a pipeline of a small model compile a grammar, and generate tokens of it; returns the library's error, or ""."""
    config = genai.GenerationConfig()
    config.max_new_tokens = tokens
    config.do_sample = tokens > 1
    config.set_eos_token_id(end_id)
    config.stop_token_ids = {end_id}
    config.structured_output_config = genai.StructuredOutputConfig(grammar=grammar)
    try:
        pipeline.generate([ov.Tensor(np.zeros((1, 1), np.int64))], [config])
    except RuntimeError as error:
        return str(error).strip().splitlines()[-1]
    return ""


def small_pipeline(folder: Path, tokenizer: genai.Tokenizer) -> genai.ContinuousBatchingPipeline:
    """A pipeline of one of the small models. One thread: others would spin while they wait, and count as CPU time."""
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = 4
    return genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, "CPU", INFERENCE_NUM_THREADS=1)


def _bound_cpu(seconds: float) -> None:
    """Has the kernel end this process when it has taken so many seconds more of CPU."""
    limit = math.ceil(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def main() -> None:
    """Tries the grammars that come on stdin until it ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    tokenizer = genai.Tokenizer(folder)
    pipeline = small_pipeline(folder, tokenizer)
    compiled(pipeline, 'root ::= "a"\n', SAMPLE_END)
    answers.write("{}\n")
    while os.getppid() == parent and (size := sys.stdin.buffer.read(4)):
        grammar = sys.stdin.buffer.read(int.from_bytes(size, "big")).decode()
        _bound_cpu(seconds)
        begun = time.process_time()
        error = compiled(pipeline, grammar, SAMPLE_END)
        cpu_s = time.process_time() - begun
        error = error or compiled(pipeline, grammar, SAMPLE_END, _TOKENS)
        token_s = (time.process_time() - begun - cpu_s) / _TOKENS
        answers.write(json.dumps({"cpu_s": cpu_s, "token_s": token_s, "error": error}) + "\n")


if __name__ == "__main__":
    main()
