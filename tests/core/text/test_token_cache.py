"""Token cache: ids equal those of the library's own encode of the whole text; memory is bounded; turns are taken again."""

from __future__ import annotations

import gc
import random
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.errors import InvalidRequest
from qwen_triton.text.token_cache import TokenCache
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.random_streams import TEXTS

CONTROLS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>")
BLANKS = ("", " ", "  ", "\n", " \n\n ", "\t", "\r\n", "\u3000", "\u00a0")
BORDERS = (
    *BLANKS, "\u200d", "\ufe0f", "\u0301", "\u0301\u0323", "e", "é", "가", "\u1100", "\u1161", "\u11a8", "你", "。", "🙂",
    "🏽", "1", "12", "'", "'s", "<", "<|", "|>", "im_end|>", "<think>", "</think>", "<tool_call>", "user\n", "\ufeff",
    "\x00", "\ufffd",
)  # fmt: skip
"""What stands first or last in a piece: blanks, marks that join what is before them, halves of control tokens."""

plain = st.lists(st.one_of(st.sampled_from((*BORDERS, *TEXTS)), st.text(max_size=4)), max_size=6).map("".join)
pieces = st.one_of(plain, plain.map(lambda text: text * 9))
"""Short ones, and some that the cache takes."""
prompts = st.lists(st.tuples(pieces, st.sampled_from(CONTROLS)), max_size=8).map(
    lambda parts: "".join(text + control for text, control in parts)
)
edits = st.sampled_from(("same", "append", "truncate", "drop", "swap", "edit", "border"))
steady = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def library(qwen3_folder: Path) -> tokenizers.Tokenizer:
    """Hugging Face's tokenizer of the same folder, which finds control tokens itself."""
    return tokenizers.Tokenizer.from_file(str(qwen3_folder / "tokenizer.json"))


def cached(folder: Path, max_bytes: int = 1 << 20) -> Tokenizer:
    """A tokenizer whose cache takes all pieces but empty ones of all texts."""
    return Tokenizer.from_folder(folder, cache=TokenCache(max_bytes, long_text=1, shortest_piece=1))


def edited(parts: list[str], how: str, draw: random.Random) -> list[str]:
    """The next turn's pieces, in which every second one is a control token."""
    at = 2 * draw.randrange(len(parts) // 2 + 1)
    if how == "append":
        return [*parts, "<|im_start|>", f"{draw.choice(BORDERS)}new {draw.random()}"]
    if how == "truncate":
        return parts[: at + 1]
    if how == "drop" and len(parts) > 2:
        return parts[:at] + parts[at + 2 :] if at + 2 <= len(parts) else parts[:-2]
    if how == "swap" and len(parts) > 2:
        other = 2 * draw.randrange(len(parts) // 2 + 1)
        parts = list(parts)
        parts[at], parts[other] = parts[other], parts[at]
        return parts
    if how == "border":
        return [
            draw.choice(BLANKS) + part + draw.choice(BORDERS) if n % 2 == 0 else part for n, part in enumerate(parts)
        ]
    if how == "edit":
        cut = draw.randrange(len(parts[at]) + 1)
        return [*parts[:at], parts[at][:cut] + draw.choice(BORDERS) + parts[at][cut:], *parts[at + 1 :]]
    return parts


@steady
@given(prompts, st.lists(edits, max_size=5), st.integers(0, 1 << 30), st.sampled_from((500, 3000, 1 << 20)))
def test_every_turn_has_the_ids_of_the_whole_encode(
    small_cache: dict[int, Tokenizer], library: tokenizers.Tokenizer, prompt: str, how: list[str], seed: int, size: int
) -> None:
    """Histories that grow, are cut, reordered and edited, at borders too; with a cache that gives pieces up, and without."""
    tokenizer, draw = small_cache[size], random.Random(seed)
    parts = tokenizer.special_pattern.split(prompt)
    for step in ("same", *how):
        parts = edited(parts, step, draw)
        text = "".join(parts)
        wanted = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, control_tokens=True) == wanted
        assert tokenizer.encode(text, control_tokens=True) == wanted
        assert tokenizer.cache is not None
        assert tokenizer.cache.bytes <= size


@pytest.fixture(scope="module")
def small_cache(qwen3_folder: Path) -> dict[int, Tokenizer]:
    """Tokenizers by the bytes of their cache, kept through all examples, so that entries of others are there."""
    return {size: cached(qwen3_folder, size) for size in (500, 3000, 1 << 20)}


messages = st.lists(
    st.tuples(st.sampled_from(("user", "assistant")), st.one_of(pieces, st.tuples(pieces, st.sampled_from(CONTROLS)))),
    min_size=1,
    max_size=6,
)


@steady
@given(messages, st.integers(1, 6))
def test_chats_have_the_same_ids_with_a_cache(
    chat_templates: tuple[ChatTemplate, ChatTemplate], turns: list[tuple[str, str | tuple[str, str]]], kept: int
) -> None:
    """Turn by turn; control tokens that a caller wrote into a message stay plain text."""
    with_cache, without = chat_templates
    chat = [{"role": role, "content": "".join(content)} for role, content in turns]
    for end in (len(chat), kept, len(chat)):
        assert with_cache.encode(chat[:end]) == without.encode(chat[:end])


@pytest.fixture(scope="module")
def chat_templates(qwen3_folder: Path, qwen3: Tokenizer) -> tuple[ChatTemplate, ChatTemplate]:
    """Qwen3's template with a tokenizer that has a cache, and with one that has none."""
    return ChatTemplate.from_folder(qwen3_folder, cached(qwen3_folder)), ChatTemplate.from_folder(qwen3_folder, qwen3)


def turns(count: int) -> str:
    return "".join(f"<|im_start|>user\nturn {n}: {'words of it ' * 40}<|im_end|>\n" for n in range(count))


def test_a_turn_encodes_only_what_is_new(qwen3_folder: Path, qwen3: Tokenizer) -> None:
    """Of the second turn all pieces of the first are found, but for one that was edited."""
    tokenizer = Tokenizer.from_folder(qwen3_folder, cache=(cache := TokenCache(1 << 20)))
    sizes = [len(qwen3.encode(piece)) for piece in re.findall(r"<\|im_start\|>(.*?)<\|im_end\|>", turns(21), re.DOTALL)]
    tokenizer.encode(turns(20), control_tokens=True)
    assert (cache.hits, cache.queries) == (0, sum(sizes[:20]))
    edited = turns(21).replace("turn 3:", "turn 5 again:")
    tokenizer.encode(edited, control_tokens=True)
    assert cache.hits == sum(sizes[:20]) - sizes[3]
    assert cache.queries == sum(sizes[:20]) + sum(sizes) + 1


def test_small_prompts_are_not_kept(qwen3_folder: Path) -> None:
    """Nor looked for: they would pay for what they do not use. Of a long one, short pieces are not kept."""
    tokenizer = Tokenizer.from_folder(qwen3_folder, cache=(cache := TokenCache(1 << 20)))
    tokenizer.encode("a word " * 500, control_tokens=True)
    tokenizer.encode("<|im_start|>short piece" * 500, control_tokens=True)
    assert (cache.queries, cache.bytes) == (0, 0)


def test_the_least_recently_used_piece_goes_first() -> None:
    """Beyond the bound; a piece that is larger than the whole bound is not kept, and pushes nothing out."""
    cache = TokenCache(3 * 320 + 3 * 4 * 10)
    keys = [cache.digest(f"text {n}") for n in range(5)]
    for key in keys[:3]:
        cache.add(key, range(10))
    cache.find(keys[0])
    cache.add(keys[3], range(10))
    cache.add(keys[4], range(500))
    assert [list(cache.find(key) or ()) == list(range(10)) for key in keys] == [True, False, True, True, False]
    assert cache.bytes == 3 * 360


def test_the_bound_counts_what_entries_really_take() -> None:
    """Small entries, whose place in the table is most of their size, and large ones."""
    for length in (20, 2000):
        gc.collect()
        tracemalloc.start()
        cache = TokenCache(2 << 20)
        ids = list(range(length))
        before = tracemalloc.get_traced_memory()[0]
        for n in range(20_000_000 // (320 + 4 * length)):
            cache.add(cache.digest(str(n)), ids)
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert 1.5 * (1 << 20) < cache.bytes <= 2 << 20
        assert taken <= cache.bytes * 1.05


def test_half_a_surrogate_pair_is_refused_as_without_a_cache(qwen3_folder: Path) -> None:
    """With the field at fault, each time that it is sent."""
    tokenizer = cached(qwen3_folder)
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="messages: not valid Unicode"):
            tokenizer.encode("a\ud83d", field="messages")


def test_threads_share_a_cache(qwen3_folder: Path, library: tokenizers.Tokenizer) -> None:
    """Eight threads with eight conversations that share pieces, in a cache that gives up some all the time."""
    tokenizer = cached(qwen3_folder, 20_000)
    texts = [turns(n) for n in range(1, 9)]
    wanted = [library.encode(text, add_special_tokens=False).ids for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: tokenizer.encode(texts[n % 8], control_tokens=True), range(160)))
    assert found == wanted * 20
    assert tokenizer.cache is not None
    assert 0 < tokenizer.cache.bytes <= 20_000
