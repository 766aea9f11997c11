"""Compiles grammars beside the engine's steps, so that running sequences go on; the pipeline then finds them compiled."""

from __future__ import annotations

import itertools
import queue
import resource
import threading
from collections import Counter, OrderedDict
from pathlib import Path
from typing import NamedTuple

import openvino_genai as genai

from .trial import Trial, compiled, small_pipeline
from .vocabulary import COMPILER

_LEAST_BYTES = 1 << 16
_REFUSED_BYTES = 8 << 20


class GrammarOutcome(NamedTuple):
    """Of a grammar: compiled, or refused with the reason for its caller, or a failure of ours for the log."""

    refusal: str = ""
    failure: str = ""


_READY = GrammarOutcome()


class GrammarCompiler:
    """Compiles grammars on threads of its own, those that take least time first.

    The library compiles where a sequence begins, within the step of all, and cannot be stopped. So each grammar is tried
    first (Trial), on one thread, and compiled on another. What is compiled is kept by the `Tokenizer`, which a second
    pipeline shares, and whose `generate` releases Python's lock. Methods are for the engine's thread.

    `most_s`: CPU time for a grammar, in seconds. From `most_bytes` on nothing is compiled, until the compiler is closed.
    """

    def __init__(self, folder: Path, tokenizer: genai.Tokenizer, end_id: int, most_s: float, most_bytes: int) -> None:
        self._folder = folder / COMPILER
        self._tokenizer = tokenizer
        self._end_id = end_id
        self._trial = Trial(folder, most_s)
        self._most_bytes = most_bytes
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._outcomes: dict[str, GrammarOutcome | None] = {}
        """By grammar; None while it waits."""
        self._wanted: Counter[str] = Counter()
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._bytes = {"refused": 0, "compiled": 0}
        self._untried: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._tried: queue.PriorityQueue[tuple[float, int, str]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._threads: list[threading.Thread] = []

    @property
    def held_bytes(self) -> int:
        """About how much memory the library holds for what it has compiled."""
        return self._bytes["compiled"]

    def add(self, grammar: str) -> None:
        """Has a grammar compiled for a sequence, unless it is or will be."""
        with self._lock:
            self._wanted[grammar] += 1
            if grammar in self._outcomes:
                return
            self._outcomes[grammar] = None
        self._untried.put(grammar)
        if not self._threads:
            runs = (self._try, self._compile)
            self._threads = [threading.Thread(target=run, name="grammars", daemon=True) for run in runs]
            for thread in self._threads:
                thread.start()

    def leave(self, grammar: str) -> None:
        """A sequence waits for its grammar no more: one that no other waits for is not compiled."""
        with self._lock:
            self._wanted[grammar] -= 1
            if self._wanted[grammar] <= 0:
                del self._wanted[grammar]
                outcome = self._outcomes.get(grammar)
                if outcome is not None and outcome.failure:  # the next one tries again
                    del self._outcomes[grammar]

    def outcome(self, grammar: str) -> GrammarOutcome | None:
        """Of a grammar that was added; None while it waits."""
        return self._outcomes.get(grammar)

    def close(self) -> None:
        """Ends the threads, each once it has finished what it is at, and the trial at once."""
        self._closed.set()
        self._untried.put(None)
        self._tried.put((-1.0, next(self._order), ""))

    def _try(self) -> None:
        try:
            while (grammar := self._untried.get()) is not None and not self._closed.is_set():
                if not self._is_wanted(grammar):
                    continue
                try:
                    tried = self._trial.run(grammar)
                except (RuntimeError, OSError, ValueError) as error:
                    self._settle(grammar, GrammarOutcome(failure=str(error)))
                    continue
                if tried.refusal:
                    self._settle(grammar, GrammarOutcome(refusal=tried.refusal))
                else:
                    self._tried.put((tried.cpu_s, next(self._order), grammar))
        finally:
            self._trial.close()

    def _compile(self) -> None:
        pipeline = None
        while not self._closed.is_set():
            _, _, grammar = self._tried.get()
            if self.held_bytes > self._most_bytes:
                self._closed.wait()
            if self._closed.is_set() or not self._is_wanted(grammar):
                continue
            try:
                pipeline = pipeline or small_pipeline(self._folder, self._tokenizer)
            except RuntimeError as error:
                self._settle(grammar, GrammarOutcome(failure=str(error)))
                continue
            before = _memory()
            words = compiled(pipeline, grammar, self._end_id)
            if words:
                pipeline = None
                self._settle(grammar, GrammarOutcome(refusal=f"openvino-genai cannot compile it: {words}"))
                continue
            self._bytes["compiled"] += max(_LEAST_BYTES, _memory() - before) + len(grammar)
            self._settle(grammar, _READY)

    def _is_wanted(self, grammar: str) -> bool:
        with self._lock:
            if self._wanted[grammar] > 0:
                return True
            del self._wanted[grammar]
            self._outcomes.pop(grammar, None)
            return False

    def _settle(self, grammar: str, outcome: GrammarOutcome) -> None:
        with self._lock:
            self._outcomes[grammar] = outcome
            if not outcome.refusal:
                return
            self._refused[grammar] = None
            self._bytes["refused"] += len(grammar)
            for old in list(self._refused):
                if self._bytes["refused"] <= _REFUSED_BYTES:
                    break
                if old not in self._wanted:
                    del self._refused[old], self._outcomes[old]
                    self._bytes["refused"] -= len(old)


def _memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
