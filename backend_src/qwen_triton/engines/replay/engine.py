"""An engine without a model: it plays token scripts at a set pace, for tests and for measurements of the rest.

Content: `echo` answers with the prompt's ids, `random` with ids drawn from a seed and the prompt, `scripts` with the
listed ids, one list per request in turn. At a script's end the answer stops with the request's first end id; for a
request without end ids, or with tokens missing to its min_tokens, the script starts again. The sampler replaces tokens
that the request's bad words or biases exclude. Pace: slots, a prefill time per prompt token, a step time, or none.
"""

from __future__ import annotations

import random
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from ...types import EngineRequest, PromptLogProbs, TokenChunk
from ..engine import Counters, EngineInfo, Key, Queue
from .options import ReplayOptions
from .prefix_cache import PrefixCache
from .sampler import ScriptSampler

_NO_LIMIT = 1 << 31


class _Sequence:
    """One running sequence: its script, how far it has come, and when its first token is due (monotonic seconds)."""

    __slots__ = (
        "cached",
        "done",
        "ending",
        "limit",
        "loops",
        "min_tokens",
        "request",
        "sampler",
        "script",
        "starts_at",
    )

    def __init__(self, request: EngineRequest, script: Sequence[int], starts_at: float, cached: int) -> None:
        self.request = request
        self.cached = cached
        self.sampler = ScriptSampler(request) if request.bad_words or request.bias else None
        self.script = script
        self.starts_at = starts_at
        self.done = 0
        self.ending = frozenset((*request.stop_token_ids, *request.end_ids))
        self.min_tokens = request.sampling.min_tokens
        self.loops = not request.end_ids
        self.limit = request.sampling.max_tokens or _NO_LIMIT

    def next_ids(self, count: int) -> list[int]:
        """The next `count` ids, fewer at the script's end."""
        start = self.done
        if not self.loops and start >= self.min_tokens:
            ids = list(self.script[start : start + count])
        else:
            ids = [self.script[i % len(self.script)] for i in range(start, start + count)]
        self.done += len(ids)
        return ids if self.sampler is None else [self.sampler.sample(i) for i in ids]


class ReplayEngine:
    """A StepEngine that plays scripts (see the module)."""

    def __init__(self, options: ReplayOptions) -> None:
        self._options = options
        self.info = EngineInfo(
            "replay", options.max_context, options.vocab_size, forms="play" if options.forms == "play" else ""
        )
        self.counters = Counters()
        self._queue = Queue(self.counters)
        self._cache = PrefixCache() if options.prefix_caching else None
        self._running: dict[Key, _Sequence] = {}
        self._waiting: OrderedDict[Key, EngineRequest] = OrderedDict()
        self._next_step = 0.0
        self._next_script = 0

    def add(self, key: Key, request: EngineRequest) -> None:
        """Queues a request. Raises InvalidRequest for a token id outside the vocabulary."""
        if self._options.crash_on in request.token_ids:
            raise SystemExit("replay: crash_on is in this prompt")
        self._waiting[key] = request
        self._queue.arrive(key)
        self._fill_slots()

    def cancel(self, key: Key) -> None:
        if self._running.pop(key, None) or self._waiting.pop(key, None):
            self.counters.cancelled += 1
            self._queue.leave(key)
            self._fill_slots()

    def waits(self, key: Key) -> bool:
        return key in self._waiting

    def wait_s(self) -> float | None:
        if not self._running:
            return None
        due = self._next_step
        if self._options.prefill_ms_per_token:
            due = max(due, min(sequence.starts_at for sequence in self._running.values()))
        return max(0.0, due - time.monotonic())

    def step(self) -> list[tuple[Key, TokenChunk]]:
        now = time.monotonic()
        if now < self._next_step:
            return []
        chunks = [
            (key, self._next_chunk(sequence)) for key, sequence in self._running.items() if sequence.starts_at <= now
        ]
        for key, chunk in chunks:
            self.counters.tokens += len(chunk.token_ids)
            if chunk.finish:
                del self._running[key]
                self.counters.finished += 1
        self.counters.steps += 1
        self._next_step = max(self._next_step + self._options.step_ms / 1e3, now - 1.0)
        self._fill_slots()
        return chunks

    def close(self) -> None:
        self._running.clear()
        self._waiting.clear()

    def _fill_slots(self) -> None:
        now = time.monotonic()
        if not self._running:
            self._next_step = max(self._next_step, now)
        for key in list(islice(self._waiting, max(0, self._options.slots - len(self._running)))):
            request = self._waiting.pop(key)
            self._queue.start(key)
            cached = self._cached(request) if self._cache else 0
            prefill = (len(request.token_ids) - cached) * self._options.prefill_ms_per_token / 1e3
            self._running[key] = _Sequence(request, self._script(request), now + prefill, cached)
        self.counters.running, self.counters.waiting = len(self._running), len(self._waiting)

    def _cached(self, request: EngineRequest) -> int:
        """How many tokens of a prompt were cached; counts them."""
        assert self._cache is not None
        cached, counts = self._cache.add(request.token_ids), self.counters.extra
        counts["prefix_cache_queries"] = counts.get("prefix_cache_queries", 0.0) + len(request.token_ids)
        counts["prefix_cache_hits"] = counts.get("prefix_cache_hits", 0.0) + cached
        return cached

    def _script(self, request: EngineRequest) -> Sequence[int]:
        limit = request.sampling.max_tokens or self._options.tokens
        if self._options.mode == "echo":
            return request.token_ids
        if self._options.mode == "random":
            seed = zlib.crc32(repr((request.token_ids, request.sampling.seed)).encode())
            low, high = self._options.random_ids
            return random.Random(seed).choices(range(low, high), k=min(limit, self._options.tokens))
        self._next_script += 1
        return self._options.scripts[(self._next_script - 1) % len(self._options.scripts)]

    def _next_chunk(self, sequence: _Sequence) -> TokenChunk:
        """A sequence's next chunk; its first one carries the number of cached prompt tokens, and the prompt's log probs."""
        first = not sequence.done
        chunk = self._advance(sequence)
        if first and sequence.request.sampling.prompt_logprobs is not None:
            chunk = chunk._replace(prompt=self._prompt(sequence.request, sequence.request.sampling.prompt_logprobs))
        return chunk._replace(cached_tokens=sequence.cached) if first and sequence.cached else chunk

    def _prompt(self, request: EngineRequest, tops: int) -> PromptLogProbs:
        """Every token of a prompt is as likely as one of an answer, and the likeliest at its place."""
        ids = request.token_ids[1:]
        return PromptLogProbs([self._options.log_prob] * len(ids), self._top(ids, tops) if tops else ())

    def _top(self, ids: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
        """The `count` likeliest at the place of each id: the id itself and those that follow it, each less likely by 1."""
        return [[(i + n, self._options.log_prob - n) for n in range(count)] for i in ids]

    def _advance(self, sequence: _Sequence) -> TokenChunk:
        done, request = sequence.done, sequence.request
        ids = sequence.next_ids(min(self._options.tokens_per_step, sequence.limit - done))
        if not sequence.ending.isdisjoint(ids):
            for n, token in enumerate(ids):
                if token in sequence.ending and done + n >= sequence.min_tokens:
                    return self._chunk(request, ids[:n], "stop", token)
        if self._options.fail_after is not None and sequence.done >= self._options.fail_after:
            return TokenChunk(finish="error", error="replay: fail_after is reached")
        if sequence.done >= sequence.limit:
            return self._chunk(request, ids, "length", None)
        if not ids:
            return self._chunk(request, ids, "stop", request.end_ids[0])
        return self._chunk(request, ids, None, None)

    def _chunk(
        self, request: EngineRequest, ids: list[int], finish: Literal["stop", "length"] | None, stop_token: int | None
    ) -> TokenChunk:
        if request.sampling.logprobs is None:
            return TokenChunk(ids, finish=finish, stop_token=stop_token)
        log_probs = [self._options.log_prob] * len(ids)
        top = self._top(ids, request.sampling.logprobs) if request.sampling.logprobs else ()
        return TokenChunk(ids, log_probs, top, finish, stop_token)
