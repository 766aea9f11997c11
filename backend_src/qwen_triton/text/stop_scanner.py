"""Finds the first of several stop strings in a text that arrives in pieces, and holds back no more than it must.

The match that is complete first wins; of those complete at the same character, the longest, which begins first. That
is what looking for every stop string in the text so far after each single character gives, so it does not depend on
how the text was cut. Each character costs O(1), amortised, whatever the number of stop strings (Aho and Corasick).

Knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache


class StopAutomaton:
    """All stop strings of one set. A state is «the longest end of the text that begins a stop string»; 0 is none.

    `moves[s]` leads on from state s, `fallback[s]` is the state of the next shorter such end, `match[s]` the longest
    stop string that is complete in s, `held[s]` how many characters may still become one. `first` finds a character
    that any stop string begins with.
    """

    __slots__ = ("fallback", "first", "held", "match", "moves")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.moves: list[dict[str, int]] = [{}]
        self.match: list[str | None] = [None]
        self.fallback = [0]
        self.held = [0]
        for stop in stops:
            self._add(stop)
        self._link()
        self.first = re.compile("[" + "".join(re.escape(char) for char in self.moves[0]) + "]")

    def _add(self, stop: str) -> None:
        state = 0
        for depth, char in enumerate(stop, start=1):
            if char not in self.moves[state]:
                self.moves[state][char] = len(self.moves)
                self.moves.append({})
                self.match.append(None)
                self.fallback.append(0)
                self.held.append(depth)
            state = self.moves[state][char]
        self.match[state] = stop

    def _link(self) -> None:
        """Breadth first, so that a state's fallback, being shorter, is complete before the state is."""
        queue = deque(self.moves[0].values())
        while queue:
            state = queue.popleft()
            shorter = self.fallback[state]
            self.match[state] = self.match[state] or self.match[shorter]
            if not self.moves[state]:  # a whole stop string that leads no further
                self.held[state] = self.held[shorter]
            for char, longer in self.moves[state].items():
                self.fallback[longer] = self.next(shorter, char)
                queue.append(longer)

    def next(self, state: int, char: str) -> int:
        """The state after one more character."""
        moves = self.moves
        while char not in moves[state]:
            if not state:
                return 0
            state = self.fallback[state]
        return moves[state][char]


@lru_cache(maxsize=256)
def stop_automaton(stops: tuple[str, ...]) -> StopAutomaton:
    """The automaton of these stop strings, none of them empty; built once per set, in the time of its length."""
    return StopAutomaton(stops)


class StopScanner:
    """Scans one text. With `keep` the stop string stays in the text, and so nothing is ever held back.

    `position` counts the characters fed up to and including the match, `released` those given out.
    """

    __slots__ = ("_automaton", "_held", "_keep", "_state", "matched", "position", "released")

    def __init__(self, stops: tuple[str, ...], keep: bool = False) -> None:
        self._automaton = stop_automaton(stops)
        self._keep = keep
        self._state = 0
        self._held = ""
        self.matched: str | None = None
        self.position = 0
        self.released = 0

    def feed(self, text: str, armed: bool = True) -> tuple[str, str | None]:
        """The text that is certain now, and the stop string that has just ended it; after that nothing more.

        With `armed` false a match that is complete within `text` does not count; one that begins in it may.
        """
        if self.matched is not None:
            return "", None
        if not self._state and self._automaton.first.search(text) is None:  # nearly always
            self.position += len(text)
            self.released += len(text)
            return text, None
        end = self._scan(text, armed)
        self.position += end
        pending = self._held + text[:end]
        if self.matched is not None:
            cut = len(pending) if self._keep else len(pending) - len(self.matched)
            self._held = ""
        else:
            cut = len(pending) - (0 if self._keep else self._automaton.held[self._state])
            self._held = pending[cut:]
        self.released += cut
        return pending[:cut], self.matched

    def flush(self) -> str:
        """What was held back, when the text ends without a stop string."""
        text, self._held = self._held, ""
        self.released += len(text)
        return text

    def _scan(self, text: str, armed: bool) -> int:
        """Advances over `text` up to the end of the first match and returns how far that is."""
        automaton, state, index = self._automaton, self._state, 0
        while index < len(text):
            if not state:
                found = automaton.first.search(text, index)
                if found is None:
                    break
                index = found.start()
            state = automaton.next(state, text[index])
            index += 1
            if armed and automaton.match[state] is not None:
                self.matched = automaton.match[state]
                return index
        self._state = state
        return len(text)
