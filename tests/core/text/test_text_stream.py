"""TextStream: text, end, usage and tokens of an answer, whatever the chunks."""

from __future__ import annotations

import random
from codecs import utf_8_decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.text.text_stream import TextStream, resolve_stops
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import StopConditions, TextChunk, TokenChunk, Usage
from tests.core.text.test_stop_scanner import naive
from tests.support.random_streams import RandomStreams

IM_END, ENDOFTEXT = 151645, 151643


@dataclass
class Answer:
    """All that came out of one stream."""

    text: str
    token_ids: list[int]
    log_probs: list[float]
    top_ids: list[int]
    finish: str | None
    stop_reason: str | int | None
    usage: Usage | None
    done: bool


def run(stream: TextStream, chunks: Iterable[TokenChunk]) -> Answer:
    pieces = [piece for chunk in chunks if (piece := stream.feed(chunk)) is not None]
    last = pieces[-1] if pieces else TextChunk()
    assert all(piece.finish is None and piece.usage is None for piece in pieces[:-1])
    return Answer(
        "".join(piece.text for piece in pieces),
        [i for piece in pieces for i in piece.token_ids],
        [p for piece in pieces for p in piece.log_probs],
        [top[0][0] for piece in pieces for top in piece.top_log_probs],
        last.finish,
        last.stop_reason,
        last.usage,
        stream.done,
    )


def one_by_one(ids: Sequence[int], **last: Any) -> list[TokenChunk]:
    return [*(TokenChunk([i]) for i in ids), TokenChunk(**last)] if last else [TokenChunk([i]) for i in ids]


def test_a_plain_answer(qwen3: Tokenizer) -> None:
    """Text per token, the engine's end, and usage with the end id counted."""
    ids = qwen3.encode("你好, world 🙂")
    stream = TextStream(qwen3, end_ids=(IM_END, ENDOFTEXT), prompt_tokens=7)
    answer = run(stream, one_by_one(ids, finish="stop", stop_token=IM_END, cached_tokens=4))
    assert (answer.text, answer.token_ids) == ("你好, world 🙂", ids)
    assert (answer.finish, answer.stop_reason) == ("stop", None)
    assert answer.usage == Usage(7, len(ids) + 1, 4)


def test_log_probs_come_with_the_text_of_their_tokens(qwen3: Tokenizer) -> None:
    """A character of four tokens: nothing for three of them, then all four together."""
    id_of = {data: i for i, data in qwen3.bytes_by_id.items() if len(data) == 1}
    ids = [id_of[bytes([byte])] for byte in "🙂".encode()]
    stream = TextStream(qwen3)
    pieces = [stream.feed(TokenChunk([i], [-float(n)], [[(i, -0.5)]])) for n, i in enumerate(ids)]
    assert pieces[:3] == [None, None, None]
    assert pieces[3] == TextChunk("🙂", ids, [0.0, -1.0, -2.0, -3.0], [[(i, -0.5)] for i in ids])


@pytest.mark.parametrize("reason", ["length", "cancelled", "error", "stop"])
def test_the_engines_end_is_reported_as_it_is(qwen3: Tokenizer, reason: Any) -> None:
    """What was held back for a stop string comes with it; an end without an id counts no token for it."""
    stream = TextStream(qwen3, StopConditions(strings=("world!",)))
    answer = run(stream, [TokenChunk(qwen3.encode("Hello, world")), TokenChunk(finish=reason)])
    assert (answer.text, answer.finish, answer.stop_reason) == ("Hello, world", reason, None)
    assert answer.usage == Usage(0, 3, 0)


def test_a_stop_string_ends_the_answer_before_the_engine_does(qwen3: Tokenizer) -> None:
    """Done at once, so that the owner cancels; the tokens behind are neither shown nor counted."""
    ids = qwen3.encode("one two STOP three four")
    stream = TextStream(qwen3, StopConditions(strings=(" STOP",)))
    answer = run(stream, [TokenChunk(ids), TokenChunk(qwen3.encode("more")), TokenChunk(finish="length")])
    assert (answer.text, answer.finish, answer.stop_reason, answer.done) == ("one two", "stop", " STOP", True)
    assert answer.token_ids == qwen3.encode("one two")
    assert answer.usage == Usage(0, 3, 0)


def test_a_stop_string_is_kept_on_request(qwen3: Tokenizer) -> None:
    """With all of the token that holds its last character counted, and only the text up to its end shown."""
    ids = qwen3.encode("one two STOPPED")
    stream = TextStream(qwen3, StopConditions(strings=("STO",), include_in_output=True))
    answer = run(stream, [TokenChunk(ids)])
    assert (answer.text, answer.stop_reason) == ("one two STO", "STO")
    assert answer.token_ids == ids[: len(answer.token_ids)]
    assert answer.usage == Usage(0, len(answer.token_ids), 0)


def test_a_token_that_straddles_the_cut_is_kept(qwen3: Tokenizer) -> None:
    """« world» is one token; with «orld» as stop string its first half is shown, so it is given out."""
    ids = qwen3.encode("Hello world!")
    stream = TextStream(qwen3, StopConditions(strings=("orld",)))
    answer = run(stream, [TokenChunk(ids, [-1.0, -2.0, -3.0])])
    assert answer.text == "Hello w"
    assert (answer.token_ids, answer.log_probs) == (ids[:2], [-1.0, -2.0])


@pytest.mark.parametrize(("include", "text"), [(False, "Hello"), (True, "Hello world")])
def test_a_stop_id_ends_the_answer_and_is_named(qwen3: Tokenizer, include: bool, text: str) -> None:
    """Its text is left out or kept; it is counted. The same whether the engine knows the id or hands it out."""
    hello, world, more = qwen3.encode("Hello world!")
    stop = StopConditions(token_ids=(world,), include_in_output=include)
    known = [TokenChunk([hello]), TokenChunk(finish="stop", stop_token=world)]
    handed_out = [TokenChunk([hello, world, more])]
    for chunks in (known, handed_out):
        answer = run(TextStream(qwen3, stop, end_ids=(IM_END,)), chunks)
        assert (answer.text, answer.finish, answer.stop_reason) == (text, "stop", world)
        assert (answer.token_ids, answer.usage) == ([hello], Usage(0, 2, 0))


def test_the_second_end_id_ends_an_answer_of_an_engine_that_knows_one(qwen3: Tokenizer) -> None:
    """As NVIDIA's backend, which takes a single end id; Qwen has two."""
    stream = TextStream(qwen3, end_ids=(IM_END, ENDOFTEXT))
    answer = run(stream, [TokenChunk([*qwen3.encode("Hi"), ENDOFTEXT, *qwen3.encode("Human: 1+1")])])
    assert (answer.text, answer.finish, answer.stop_reason) == ("Hi", "stop", None)
    assert answer.usage == Usage(0, 2, 0)


def test_ignored_end_ids_are_tokens_like_others(qwen3: Tokenizer) -> None:
    """With ignore_eos the owner gives no end ids; control tokens have no text, but they count."""
    answer = run(TextStream(qwen3), [TokenChunk([*qwen3.encode("Hi"), IM_END, *qwen3.encode(" you")])])
    assert answer.text == "Hi you"
    shown = TextStream(qwen3, skip_special_tokens=False)
    assert run(shown, [TokenChunk([IM_END])]).text == "<|im_end|>"
    assert shown.completion_tokens == 1


def test_min_tokens_holds_off_stop_strings_and_ids(qwen3: Tokenizer) -> None:
    """« a» stops from the third token on; an end id handed out before three tokens are there is passed over."""
    ids = qwen3.encode(" a a a a a")
    stop = StopConditions(strings=(" a",))
    for chunks in (one_by_one(ids), [TokenChunk(ids)]):
        answer = run(TextStream(qwen3, stop, min_tokens=3), chunks)
        assert (answer.text, answer.usage) == (" a a", Usage(0, 3, 0))
    early = [TokenChunk([ids[0], IM_END, ids[0], IM_END, ids[0]])]
    answer = run(TextStream(qwen3, end_ids=(IM_END,), min_tokens=3), early)
    assert (answer.text, answer.usage) == (" a a", Usage(0, 4, 0))


def test_accumulate_gives_the_whole_text_each_time(qwen3: Tokenizer) -> None:
    """As stock's accumulate_tokens; a piece with nothing new is still no piece."""
    stream = TextStream(qwen3, accumulate=True)
    chunks = one_by_one(qwen3.encode("one two three"), finish="length")
    assert [piece.text for chunk in chunks if (piece := stream.feed(chunk))] == [
        "one", "one two", "one two three", "one two three"
    ]  # fmt: skip


def test_cumulative_log_prob_covers_what_was_counted(qwen3: Tokenizer) -> None:
    """The engine's own at its end; with a stop string the sum up to it, not what came behind."""
    ids = qwen3.encode("one two three")
    ended = TextStream(qwen3).feed(TokenChunk(ids, finish="length", cum_log_prob=-4.5))
    assert ended is not None
    assert ended.cum_log_prob == -4.5
    stopped = TextStream(qwen3, StopConditions(strings=(" two",)))
    last = stopped.feed(TokenChunk(ids, [-1.0, -2.0, -4.0], finish="length", cum_log_prob=-7.0))
    assert last is not None
    assert last.cum_log_prob == -3.0


def test_sequences_carry_their_number(qwen3: Tokenizer) -> None:
    """On every piece, also the quick ones."""
    stream = TextStream(qwen3, sequence=2)
    pieces = [stream.feed(chunk) for chunk in one_by_one(qwen3.encode("a b"), finish="length")]
    assert [piece.sequence for piece in pieces if piece] == [2, 2, 2]


def expected(
    tokenizer: Tokenizer, ids: list[int], stop: StopConditions, ends: tuple[int, ...], least: int, skip: bool
) -> Answer:
    """The naive reading: after each token the certain text so far is decoded anew and searched for stop strings."""
    starts, data, text = [], b"", ""
    for number, token in enumerate(ids, start=1):
        if number > least and token in ends + stop.token_ids:
            return _end_by_id(tokenizer, ids, number, stop, text + data.decode(errors="replace")[len(text) :], skip)
        starts.append(len(text))
        data += b"" if skip and tokenizer.is_special(token) else tokenizer.token_bytes(token)
        longer, _ = utf_8_decode(data, "replace", False)
        if number >= least:
            for length in range(len(text) + 1, len(longer) + 1):
                complete = [s for s in stop.strings if longer[:length].endswith(s)]
                if complete:
                    return _end_by_string(ids, number, starts, longer[:length], max(complete, key=len), stop)
        text = longer
    return _end_by_length(ids, starts, text, data.decode(errors="replace"), stop)


def _end_by_string(
    ids: list[int], number: int, starts: list[int], text: str, match: str, stop: StopConditions
) -> Answer:
    shown = text if stop.include_in_output else text[: -len(match)]
    kept = [i for i, start in zip(ids, starts, strict=False) if start < len(shown)]
    return _answer(shown, kept, match, number)


def _end_by_id(
    tokenizer: Tokenizer, ids: list[int], number: int, stop: StopConditions, text: str, skip: bool
) -> Answer:
    token = ids[number - 1]
    named = token in stop.token_ids
    if named and stop.include_in_output:
        text = tokenizer.decode(ids[:number], skip)
    return _answer(text, ids[: number - 1], token if named else None, number)


def _end_by_length(ids: list[int], starts: list[int], certain: str, whole: str, stop: StopConditions) -> Answer:
    for length in range(len(certain) + 1, len(whole) + 1):
        complete = [s for s in stop.strings if whole[:length].endswith(s)]
        if complete:
            return _end_by_string(ids, len(ids), starts, whole[:length], max(complete, key=len), stop)
    return replace(_answer(whole, ids, None, len(ids)), finish="length")


def _answer(text: str, kept: list[int], reason: str | int | None, count: int) -> Answer:
    log_probs = [-float(i) for i in kept]
    return Answer(text, kept, log_probs, kept, "stop", reason, Usage(5, count, 0), True)


def chunked(ids: list[int], cuts: Sequence[int], with_end: bool) -> list[TokenChunk]:
    """The ids in chunks; the end comes with the last of them or in a chunk of its own."""
    places = [0, *cuts, len(ids)]
    chunks = [
        TokenChunk(part, [-float(i) for i in part], [[(i, -0.1)] for i in part])
        for part in (ids[a:b] for a, b in pairwise(places))
    ]
    return [*chunks[:-1], chunks[-1]._replace(finish="length")] if with_end else [*chunks, TokenChunk(finish="length")]


def test_random_answers_equal_the_naive_reading(qwen3: Tokenizer) -> None:
    """Text, end, usage, tokens and log probs, for 10,000 random streams, stop conditions and cuts into chunks."""
    draw, streams = random.Random(7), RandomStreams(qwen3, seed=8)
    for _ in range(10_000):
        ids = streams.stream()
        whole = qwen3.decode(ids, False) or "a"
        strings = tuple(_part_of(draw, whole) for _ in range(draw.randint(0, 3)))
        some = (draw.choice(ids),) if draw.random() < 0.2 else ()
        stop = StopConditions(strings, some, draw.random() < 0.3)
        ends = (IM_END, ENDOFTEXT) if draw.random() < 0.5 else ()
        least, skip = draw.choice([0, 0, 1, 2, 5]), draw.random() < 0.7
        wanted = expected(qwen3, ids, stop, ends, least, skip)
        for _ in range(2):
            cuts = sorted(draw.sample(range(len(ids) + 1), draw.randint(0, len(ids))))
            stream = TextStream(qwen3, stop, end_ids=ends, min_tokens=least, skip_special_tokens=skip, prompt_tokens=5)
            found = run(stream, chunked(ids, cuts, draw.random() < 0.5))
            assert found == wanted, (ids, stop, ends, least, skip, cuts)


def _part_of(draw: random.Random, text: str) -> str:
    start = draw.randrange(len(text))
    return text[start : start + draw.randint(1, 4)]


def test_the_naive_reading_finds_what_the_naive_search_does(qwen3: Tokenizer) -> None:
    """The two references of these tests agree where both apply."""
    ids = qwen3.encode("the cat and the hat")
    for stops in [(" hat",), ("t a", "at"), ("cat", "at and"), ("zzz",)]:
        answer = expected(qwen3, ids, StopConditions(stops), (), 0, True)
        assert (answer.text, answer.stop_reason) == naive("the cat and the hat", stops)


def test_a_stop_string_that_is_a_control_token_is_a_stop_id(qwen25: Tokenizer) -> None:
    """Beside the ids that were given, once each; the string stays, for a model that spells it."""
    stop = StopConditions(("a", "<|im_end|>", "<|endoftext|>"), (7, ENDOFTEXT))
    resolved = resolve_stops(stop, qwen25, "stop_words")
    assert resolved == replace(stop, token_ids=(7, ENDOFTEXT, IM_END))
    stream = TextStream(qwen25, resolve_stops(StopConditions(("<|im_end|>",)), qwen25, "stop_words"))
    answer = run(stream, [TokenChunk((*qwen25.encode("hello"), IM_END, 9))])
    assert (answer.text, answer.finish, answer.stop_reason) == ("hello", "stop", IM_END)
    spelled = TextStream(qwen25, resolve_stops(StopConditions(("<|im_end|>",)), qwen25, "stop_words"))
    answer = run(spelled, [TokenChunk(tuple(qwen25.encode("hello<|im_end|> on")))])
    assert (answer.text, answer.finish, answer.stop_reason) == ("hello", "stop", "<|im_end|>")


@pytest.mark.parametrize("string", ["a<|im_end|>", "<|im_end|>\n", "<|im_end|><|im_end|>"])
def test_a_stop_string_with_a_control_token_inside_is_refused(qwen25: Tokenizer, string: str) -> None:
    with pytest.raises(
        InvalidRequest, match=r"^stop_words: has <\|im_end\|> beside other text: a control token has no"
    ):
        resolve_stops(StopConditions(("fine", string)), qwen25, "stop_words")


def test_tokens_that_control_nothing_are_text(qwen3: Tokenizer) -> None:
    """Qwen3's <think> is one token and has a text, so a stop string may hold it."""
    stop = StopConditions(("</think>", "</think>\n"))
    assert resolve_stops(stop, qwen3, "stop_words") == stop


def test_an_answer_is_over_when_its_reader_says_so(qwen3: Tokenizer) -> None:
    """With the token that ends it, whatever the chunks; what follows is neither sent nor counted."""
    ids = qwen3.encode("a call</tool_call> and more")
    until = qwen3.encode("a call</tool_call>")
    for cut in range(1, len(ids) + 1):
        read = ""

        def ends(text: str) -> bool:
            nonlocal read
            read += text
            return "</tool_call>" in read

        stream = TextStream(qwen3, end_ids=(IM_END,), prompt_tokens=7, ends=ends)
        chunks = [
            TokenChunk(ids[:cut], [-1.0] * cut),
            TokenChunk(ids[cut:], [-1.0] * (len(ids) - cut), finish="length"),
        ]
        answer = run(stream, chunks)
        assert (answer.text, answer.token_ids, answer.finish) == ("a call</tool_call>", until, "stop")
        assert (answer.stop_reason, answer.usage, answer.done) == (None, Usage(7, len(until)), True)
        assert answer.log_probs == [-1.0] * len(until)


def test_a_stop_string_before_the_end_of_a_call_wins(qwen3: Tokenizer) -> None:
    """And text that it held back is sent when the answer ends otherwise."""
    ids = qwen3.encode("one two three")
    both = TextStream(qwen3, StopConditions(("two",)), ends=lambda text: "three" in text)
    assert (run(both, one_by_one(ids)).stop_reason, both.done) == ("two", True)
    held = TextStream(qwen3, StopConditions(("two!",)), ends=lambda text: "two" in text)
    assert run(held, one_by_one(ids)).text == "one two"


def test_min_tokens_hold_off_the_end_of_a_call(qwen3: Tokenizer) -> None:
    """As they hold off every other end."""
    ids = qwen3.encode("one two three four")
    over = False

    def ends(text: str) -> bool:
        nonlocal over
        over = over or "one" in text
        return over

    assert run(TextStream(qwen3, min_tokens=3, ends=ends), [TokenChunk(ids)]).token_ids == ids[:3]
