"""Draws texts of a grammar at random: what an engine could write under it at the wildest."""

from __future__ import annotations

from random import Random

from qwen_triton.chat.forms.grammar import Alt, Chars, Grammar, Lit, Node, Ref, Rep

_TYPICAL = 2_000
"""Characters after which the shortest way out is taken."""


class TextDrawer:
    """Draws from one grammar; alternatives are equally likely, endless repetitions end by a coin."""

    def __init__(self, grammar: Grammar, rng: Random) -> None:
        self._grammar = grammar
        self._rng = rng
        self._costs = self._shortest()

    def draw(self) -> str:
        """One text."""
        out: list[str] = []
        self._left = _TYPICAL
        self._write(self._grammar.root, out)
        return "".join(out)

    def _write(self, node: Node, out: list[str]) -> None:
        hurry = self._left <= 0
        if isinstance(node, Lit):
            out.append(node.text)
            self._left -= len(node.text)
        elif isinstance(node, Chars):
            low, high = self._rng.choice(node.ranges)
            out.append(chr(self._rng.choice((low, high, self._rng.randint(low, min(high, low + 90))))))
            self._left -= 1
        elif isinstance(node, Ref):
            self._left -= 1
            self._write(self._grammar.rules[node.name], out)
        elif isinstance(node, Alt):
            part = min(node.parts, key=self._cost) if hurry else self._rng.choice(node.parts)
            self._write(part, out)
        elif isinstance(node, Rep):
            count = node.least
            while (node.most is None or count < node.most) and not hurry and self._rng.random() < 0.6:
                count += 1
            for _ in range(count):
                self._write(node.node, out)
        else:
            for part in node.parts:
                self._write(part, out)

    def _cost(self, node: Node) -> float:
        """The length of the shortest text."""
        if isinstance(node, Lit):
            return len(node.text)
        if isinstance(node, Chars):
            return 1
        if isinstance(node, Ref):
            return 1 + self._costs.get(node.name, float("inf"))
        if isinstance(node, Alt):
            return min(map(self._cost, node.parts), default=float("inf"))
        if isinstance(node, Rep):
            return self._cost(node.node) * node.least if node.least else 0
        return sum(map(self._cost, node.parts))

    def _shortest(self) -> dict[str, float]:
        self._costs: dict[str, float] = {}
        for _ in range(len(self._grammar.rules) + 1):
            costs = {name: self._cost(node) for name, node in self._grammar.rules.items()}
            if costs == self._costs:
                break
            self._costs = costs
        return self._costs
