"""StopScanner: the naive search after every character, without looking at any character twice."""

from __future__ import annotations

import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.text import stop_scanner
from qwen_triton.text.stop_scanner import AutomatonCache, StopScanner, stop_automaton


def naive(text: str, stops: tuple[str, ...], keep: bool = False) -> tuple[str, str | None]:
    """Looks for every stop string in the text so far, after each character."""
    for length in range(len(text) + 1):
        found = [(text[:length].find(stop), -len(stop), stop) for stop in stops if stop in text[:length]]
        if found:
            start, _, stop = min(found)
            return text[: start + len(stop)] if keep else text[:start], stop
    return text, None


def scan(pieces: list[str], stops: tuple[str, ...], keep: bool = False) -> tuple[str, str | None]:
    scanner = StopScanner(stops, keep)
    text, matched = "", None
    for piece in pieces:
        released, found = scanner.feed(piece)
        text, matched = text + released, matched or found
    return text + scanner.flush(), matched


TABLE = [
    # text, stop strings, text given out, the stop string that ended it
    ("Hello\nHuman: hi", ("\nHuman:",), "Hello", "\nHuman:"),
    ("no stop here", ("stop!",), "no stop here", None),
    ("abcabd", ("abd",), "abc", "abd"),
    ("aaab", ("aab",), "a", "aab"),
    ("xabcx", ("abcd", "bc"), "xa", "bc"),  # «bc» is complete before «abcd» could be
    ("xabcdx", ("abcd", "bc"), "xa", "bc"),
    ("xabcx", ("bc", "abc"), "x", "abc"),  # complete at the same character: the longer, which begins first
    ("stopstop", ("stop", "st"), "", "st"),  # one is a prefix of the other
    ("你好。再见。", ("。",), "你好", "。"),
    ("好👨‍👩‍👧吗", ("👨‍👩‍👧",), "好", "👨‍👩‍👧"),
    ("ab\u0301c", ("b\u0301",), "a", "b\u0301"),
    ("<|im_end|>", ("<|im_end|>", "<|endoftext|>"), "", "<|im_end|>"),
    ("a<|im_en", ("<|im_end|>",), "a<|im_en", None),
    ("ababababac", ("ababac",), "abab", "ababac"),
    ("", ("a",), "", None),
    ("one]two^three-", ("]two", "^", "-"), "one", "]two"),  # characters with a meaning in patterns
]


@pytest.mark.parametrize(("text", "stops", "shown", "matched"), TABLE)
def test_reference_table_at_every_cut(text: str, stops: tuple[str, ...], shown: str, matched: str | None) -> None:
    """Computed by hand; whole, in two at every place, and character by character."""
    assert naive(text, stops) == (shown, matched)
    for cut in range(len(text) + 1):
        assert scan([text[:cut], text[cut:]], stops) == (shown, matched)
    assert scan(list(text), stops) == (shown, matched)
    assert scan(list(text), stops, keep=True) == (shown + (matched or ""), matched)


LETTERS = st.text(alphabet="ab你", min_size=1, max_size=5)


def test_random_texts_equal_the_naive_search() -> None:
    """30,000 texts of few letters, so that stop strings overlap, contain and repeat one another; at random cuts."""
    draw = random.Random(5)
    for _ in range(30_000):
        letters = draw.choice(["ab", "ab你"])
        stops = tuple("".join(draw.choices(letters, k=draw.randint(1, 5))) for _ in range(draw.randint(1, 4)))
        pieces = ["".join(draw.choices(letters, k=draw.randint(0, 5))) for _ in range(draw.randint(0, 5))]
        keep = draw.random() < 0.3
        assert scan(pieces, stops, keep) == naive("".join(pieces), stops, keep), (pieces, stops, keep)


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(st.text(alphabet="ab你", max_size=6), max_size=6),
    stops=st.lists(LETTERS, min_size=1, max_size=4).map(tuple),
    keep=st.booleans(),
)
def test_equals_the_naive_search_for_any_cut(pieces: list[str], stops: tuple[str, ...], keep: bool) -> None:
    """The same by hypothesis, which shrinks what it finds."""
    assert scan(pieces, stops, keep) == naive("".join(pieces), stops, keep)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="ab你", max_size=12), stops=st.lists(LETTERS, min_size=1, max_size=4).map(tuple))
def test_holds_back_only_what_may_become_a_stop_string(text: str, stops: tuple[str, ...]) -> None:
    """After each character: the longest end of the text that begins, but is not, a stop string. None if it stays."""
    scanner, keeping = StopScanner(stops), StopScanner(stops, keep=True)
    shown = ""
    for length in range(1, len(text) + 1):
        released, matched = scanner.feed(text[length - 1])
        shown += released
        if matched:
            break
        assert keeping.feed(text[length - 1]) == (text[length - 1], None)
        so_far = text[:length]
        beginnings = {stop[:n] for stop in stops for n in range(len(stop))}
        held = max(len(beginning) for beginning in beginnings if so_far.endswith(beginning))
        assert shown == so_far[: length - held]


@settings(max_examples=300, deadline=None)
@given(
    early=st.text(alphabet="ab", max_size=6),
    late=st.text(alphabet="ab", max_size=6),
    stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
)
def test_an_unarmed_piece_completes_no_match_but_may_begin_one(early: str, late: str, stops: tuple[str, ...]) -> None:
    """The first match that is complete behind the unarmed piece wins; the longest of those."""
    scanner = StopScanner(stops)
    first, none = scanner.feed(early, armed=False)
    second, matched = scanner.feed(late)
    text = first + second + scanner.flush()
    assert none is None
    for end in range(len(early) + 1, len(early + late) + 1):
        complete = [stop for stop in stops if (early + late)[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            assert (text, matched) == ((early + late)[: end - len(longest)], longest)
            return
    assert (text, matched) == (early + late, None)


def test_a_match_that_does_not_count_is_released_at_once() -> None:
    """It can become no other stop string; only its end may begin one anew."""
    assert StopScanner(("stop",)).feed("a stop", armed=False) == ("a stop", None)
    assert StopScanner(("stops",)).feed("a stops", armed=False) == ("a stop", None)
    assert StopScanner(("stop", "stopped")).feed("a stop", armed=False) == ("a ", None)


def test_nothing_follows_a_match() -> None:
    """What was generated behind the cut never comes out, whatever is fed."""
    scanner = StopScanner(("stop",))
    assert scanner.feed("a stop b") == ("a ", "stop")
    assert scanner.feed("c stop d") == ("", None)
    assert scanner.flush() == ""
    assert (scanner.position, scanner.released) == (6, 2)


def test_a_set_of_stop_strings_is_compiled_once() -> None:
    """Requests that share their stop strings share the automaton."""
    assert stop_automaton(("a", "b")) is stop_automaton(("a", "b"))


def test_a_million_characters_that_nearly_match_are_linear_work() -> None:
    """Each character moves on by one or falls back over characters already paid for; a quadratic search never ends."""
    scanner = StopScanner(("a" * 500 + "b", "ab" * 300))
    pieces = [scanner.feed("a" * 1000)[0] for _ in range(1000)]
    assert sum(map(len, pieces)) == 1_000_000 - 500


def test_automata_are_kept_up_to_so_many_states() -> None:
    """The latest ones; one that is too large is shared while it is used, and kept no longer."""
    cache = AutomatonCache(most=100, most_states=12)
    first = cache.get(("abcd",))
    assert cache.get(("abcd",)) is first
    assert cache.states == 5
    cache.get(("efgh",))
    assert cache.states == 10
    cache.get(("ijkl",))
    assert cache.states == 10
    large = cache.get(("x" * 100,))
    assert cache.get(("x" * 100,)) is large
    assert cache.states == 10
    unused = weakref.ref(large)
    del large
    assert unused() is None


def test_only_the_latest_automata_are_kept_however_small() -> None:
    """A short stop string has few states, and its automaton takes five times their memory."""
    cache = AutomatonCache(most=2, most_states=1000)
    kept = cache.get(("a",))
    dropped = weakref.ref(cache.get(("b",)))
    assert cache.get(("a",)) is kept
    cache.get(("c",))
    assert (len(cache), cache.states, dropped()) == (2, 4, None)
    assert cache.get(("a",)) is kept


def test_callers_with_a_stop_string_of_their_own_each_leave_a_few_behind() -> None:
    for number in range(1000):
        StopScanner((f"end of {number}",))
    assert len(stop_scanner._AUTOMATA) == 256


def test_the_cache_of_all_scanners_is_small_beside_what_callers_may_send() -> None:
    for number in range(64):
        StopScanner((f"{number}" + "ab" * 4000,))
    assert stop_scanner._AUTOMATA.states <= 1 << 15
