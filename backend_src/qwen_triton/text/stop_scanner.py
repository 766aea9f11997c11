"""Finds the first of several stop strings in a text that arrives in pieces, and holds back no more than it must.

The match that is complete first wins; of those complete at the same character, the longest, which begins first. A
search for every stop string after each single character gives the same, so the result does not depend on how the text
was cut. Each character costs O(1), amortised, for any number of stop strings (Aho and Corasick).

Knows no tokens.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict, deque
from weakref import WeakValueDictionary


class StopAutomaton:
    """The automaton of a set of stop strings. A state is the longest suffix of the text that begins one; 0 is none.

    `moves[s]` are the transitions from state s by character, `fallback[s]` is the state of the next shorter suffix,
    `match[s]` the longest stop string that is complete in s, `held[s]` the number of characters that may still become
    one. `first` matches the first character of any stop string.
    """

    __slots__ = ("__weakref__", "fallback", "first", "held", "match", "moves")

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
        """Breadth first: a state's fallback is shorter, so it is complete before the state is."""
        queue = deque(self.moves[0].values())
        while queue:
            state = queue.popleft()
            shorter = self.fallback[state]
            self.match[state] = self.match[state] or self.match[shorter]
            if not self.moves[state]:  # a whole stop string, and the beginning of no longer one
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


class AutomatonCache:
    """Automata by their stop strings. Thread-safe.

    The sequences of a request share theirs, however large, while one of them runs. Beyond that the latest are kept, at most
    `most` of them with `most_states` in all: callers choose the strings. A state takes some 350 bytes; an automaton of one
    short string 1.8 KiB, most of them for its expression and its lists.
    """

    def __init__(self, most: int, most_states: int) -> None:
        self._most = most
        self._most_states = most_states
        self._used: WeakValueDictionary[tuple[str, ...], StopAutomaton] = WeakValueDictionary()
        self._kept: OrderedDict[tuple[str, ...], StopAutomaton] = OrderedDict()
        self._states = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many automata are kept without being used."""
        return len(self._kept)

    @property
    def states(self) -> int:
        """The states of all automata that are kept without being used."""
        return self._states

    def get(self, stops: tuple[str, ...]) -> StopAutomaton:
        """The automaton of these stop strings, none of them empty; building it takes time in their total length."""
        with self._lock:
            automaton = self._used.get(stops)
            if automaton is None:
                automaton = self._used[stops] = StopAutomaton(stops)
            if stops in self._kept:
                self._kept.move_to_end(stops)
            elif len(automaton.moves) <= self._most_states:
                self._kept[stops] = automaton
                self._states += len(automaton.moves)
                self._drop()
            return automaton

    def _drop(self) -> None:
        while len(self._kept) > self._most or self._states > self._most_states:
            _, dropped = self._kept.popitem(last=False)
            self._states -= len(dropped.moves)


_AUTOMATA = AutomatonCache(most=256, most_states=1 << 15)


def stop_automaton(stops: tuple[str, ...]) -> StopAutomaton:
    """The automaton of these stop strings, cached (see AutomatonCache)."""
    return _AUTOMATA.get(stops)


class StopScanner:
    """Scans one text. With `keep` the stop string stays in the text, so nothing is held back.

    `position` counts the characters fed, up to and including the match, `released` those returned.
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
        """The text that no stop string can remove, and the stop string that ended it; after a match nothing more.

        With `armed` false a match that is complete within `text` does not count; one that only begins in it does.
        """
        if self.matched is not None:
            return "", None
        if not self._state and self._automaton.first.search(text) is None:  # the usual case
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
        """The text that was held back, at the end of a text without a stop string."""
        text, self._held = self._held, ""
        self.released += len(text)
        return text

    def _scan(self, text: str, armed: bool) -> int:
        """Advances over `text` to the end of the first match, or of `text`, and returns that index."""
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
