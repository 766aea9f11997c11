"""Beginnings of prompts that an engine without a model acts as if it had computed before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK = 16
"""Tokens that are found or not found together."""


class PrefixCache:
    """Remembers prompts in blocks; beyond `capacity` blocks those that were not seen for longest are forgotten."""

    def __init__(self, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def see(self, token_ids: Sequence[int]) -> int:
        """How many of a prompt's first tokens were seen before, at most all but one; from now on the whole prompt was."""
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
