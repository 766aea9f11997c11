"""Applies a request's bad words and logit biases to a script, as a sampler applies them to a model's scores.

There is no model, so the scores are made up: the script's token scores LEAD, all others 0; biases are added.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from ...types import EngineRequest

LEAD = 10.0


class ScriptSampler:
    """Chooses the tokens of one sequence: the highest score whose token completes no bad word, the lowest id of equals."""

    def __init__(self, request: EngineRequest) -> None:
        self._bias = request.bias
        self._bad_words = request.bad_words
        self._recent: deque[int] = deque(maxlen=max(map(len, self._bad_words), default=1))

    def sample(self, scripted: int) -> int:
        """The token that takes the place of the script's next one; usually that one itself."""
        banned = self._banned()
        scores = {**self._bias, scripted: LEAD + self._bias.get(scripted, 0.0)}
        other = next(i for i in count() if i not in scores and i not in banned)
        scores[other] = 0.0
        chosen = min(scores.keys() - banned, key=lambda i: (-scores[i], i))
        self._recent.append(chosen)
        return chosen

    def _banned(self) -> set[int]:
        """Last tokens of the bad words whose other tokens are the most recent ones."""
        recent = tuple(self._recent)
        return {word[-1] for word in self._bad_words if recent[len(recent) - len(word) + 1 :] == word[:-1]}
