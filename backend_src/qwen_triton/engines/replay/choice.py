"""What is said in place of a script's token that a request does not want: bad words and biases, as a sampler takes them.

There is no model, so the scores are made up: a script's token leads all others, which score 0, by LEAD; biases are added.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from ...types import EngineRequest

LEAD = 10.0


class Choice:
    """Chooses one token after the other for one sequence: the likeliest that ends no bad word, of equals the lowest id."""

    def __init__(self, request: EngineRequest) -> None:
        self._bias = request.bias
        self._bad_words = request.bad_words
        self._said: deque[int] = deque(maxlen=max(map(len, self._bad_words), default=1))

    def __call__(self, scripted: int) -> int:
        banned = self._banned()
        scores = {**self._bias, scripted: LEAD + self._bias.get(scripted, 0.0)}
        other = next(i for i in count() if i not in scores and i not in banned)
        scores[other] = 0.0
        chosen = min(scores.keys() - banned, key=lambda i: (-scores[i], i))
        self._said.append(chosen)
        return chosen

    def _banned(self) -> set[int]:
        """The last tokens of the bad words of which all but the last were just said."""
        said = tuple(self._said)
        return {word[-1] for word in self._bad_words if said[len(said) - len(word) + 1 :] == word[:-1]}
