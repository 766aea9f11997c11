"""Prefix cache of the replay engine: which beginnings of prompts count as computed. Holds no keys and values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK = 16
"""Tokens of a block; a prefix is cached in whole blocks."""


class PrefixCache:
    """Least-recently-used cache of at most `capacity` prompt blocks, each named by a hash chain over its prefix."""

    def __init__(self, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def add(self, token_ids: Sequence[int]) -> int:
        """Adds a prompt; returns how many of its first tokens were cached before, at most all but one."""
        found, chain, known = 0, 0, True
        for start in range(0, len(token_ids) - BLOCK, BLOCK):
            chain = hash((chain, tuple(token_ids[start : start + BLOCK])))
            known = known and chain in self._blocks
            found += BLOCK * known
            self._blocks[chain] = None
            self._blocks.move_to_end(chain)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return found
