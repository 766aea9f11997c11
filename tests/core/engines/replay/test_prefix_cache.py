"""The replay engine's prefix cache: which beginnings of prompts count as cached."""

from __future__ import annotations

from qwen_triton.engines.replay.prefix_cache import BLOCK, PrefixCache


def test_the_beginning_of_a_prompt_is_cached_once_it_was_asked() -> None:
    cache = PrefixCache()
    prompt = list(range(3 * BLOCK))
    assert cache.add(prompt) == 0
    assert cache.add(prompt) == 2 * BLOCK
    assert cache.add([*prompt, 1]) == 2 * BLOCK
    assert cache.add([*prompt, 1]) == 3 * BLOCK
    assert cache.add([*prompt[:BLOCK], *reversed(prompt)]) == BLOCK
    assert cache.add(prompt[1:]) == 0


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    cache = PrefixCache(capacity=2)
    one, other = [1] * (BLOCK + 1), [2] * (2 * BLOCK + 1)
    assert [cache.add(p) for p in (one, one, other, one, other)] == [0, BLOCK, 0, 0, 0]
