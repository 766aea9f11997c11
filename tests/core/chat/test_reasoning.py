"""ReasoningParser: thinking and content of an answer, whatever the cuts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from qwen_triton.chat.deltas import Content, Reasoning
from qwen_triton.chat.reasoning import ReasoningParser
from qwen_triton.chat.template import ChatTemplate
from qwen_triton.text.tokenizer import Tokenizer


def parse(pieces: Iterable[str], opened: bool = False) -> tuple[str, str]:
    """Thinking and content; thinking never comes after content."""
    parser = ReasoningParser(opened)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.flush()
    assert all(delta.text for delta in deltas)
    kinds = [type(delta) for delta in deltas]
    assert kinds == sorted(kinds, key=[Reasoning, Content].index)
    return tuple("".join(d.text for d in deltas if type(d) is kind) for kind in (Reasoning, Content))  # type: ignore[return-value]


TABLE = [
    # answer, opened by the template, thinking, content
    ("<think>\nI see.\n</think>\n\nHello!", False, "I see.", "Hello!"),
    ("I see.\n</think>\n\nHello!", True, "I see.", "Hello!"),
    ("<think>\nI see.\n</think>\n\nHello!", True, "I see.", "Hello!"),
    ("\n<think>I see.</think>Hello!", False, "I see.", "Hello!"),
    ("<think>\n\n</think>\n\nHello!", False, "", "Hello!"),
    ("<think>\n  two\n\n  lines \n</think>\n  Hello!\n", False, "  two\n\n  lines ", "  Hello!\n"),
    ("Hello!", False, "", "Hello!"),
    ("\n Hello <think>no</think>", False, "", "\n Hello <think>no</think>"),
    ("Hello </think> you", False, "", "Hello </think> you"),
    ("<think>\nnever closed\n", False, "never closed", ""),
    ("never closed", True, "never closed", ""),
    ("<think>a < b </thin k> </thinker> c</think>d", False, "a < b </thin k> </thinker> c", "d"),
    ("<think>a</think>b</think>c", False, "a", "b</think>c"),
    ("<think>cut off </thi", False, "cut off </thi", ""),
    ("<thi", False, "", "<thi"),
    ("<thi", True, "<thi", ""),
    (" \n", False, "", " \n"),
    (" \n", True, " ", ""),
    ("", False, "", ""),
    ("<think></think>", False, "", ""),
    ("<think>思考🤔\n</think>\n\n答案", False, "思考🤔", "答案"),
]


@pytest.mark.parametrize(("answer", "opened", "thinking", "content"), TABLE)
def test_table_at_every_cut(answer: str, opened: bool, thinking: str, content: str) -> None:
    """Whole, in three at any two places, and character by character."""
    for first in range(len(answer) + 1):
        for second in range(first, len(answer) + 1):
            pieces = [answer[:first], answer[first:second], answer[second:]]
            assert parse(pieces, opened) == (thinking, content), pieces
    assert parse(answer, opened) == (thinking, content)


FRAGMENTS = [
    "<think>",
    "</think>",
    "<",
    "</",
    "think>",
    "<thi",
    "nk>",
    "\n",
    "\n\n",
    " ",
    "a",
    "你",
    "🙂",
    "<tool_call>",
]


def random_answers(seed: int) -> Iterator[tuple[list[str], bool]]:
    """10,000 mixtures of tags, parts of tags and line ends, and whether the template opened the block."""
    draw = random.Random(seed)
    for _ in range(10_000):
        yield draw.choices(FRAGMENTS, k=draw.randint(0, 12)), draw.random() < 0.5


def test_the_cuts_do_not_matter() -> None:
    """In pieces, whole, and character by character."""
    for pieces, opened in random_answers(1):
        answer = "".join(pieces)
        assert parse(pieces, opened) == parse([answer], opened) == parse(answer, opened), (pieces, opened)


def test_nothing_but_one_pair_of_tags_and_line_ends_is_lost() -> None:
    """What is left out is markup."""
    for pieces, opened in random_answers(2):
        thinking, content = parse(pieces, opened)
        rest = "".join(pieces).replace("\n", "").replace(" ", "")
        found = (thinking + content).replace("\n", "").replace(" ", "")
        closes = [at for at in range(len(rest)) if rest.startswith("</think>", at)]
        unclosed = {rest, *(rest[:at] + rest[at + len("</think>") :] for at in closes)}
        assert found in unclosed | {text.removeprefix("<think>") for text in unclosed}, (pieces, opened)


def test_text_is_released_as_soon_as_it_cannot_be_a_tag() -> None:
    """Only a beginning of </think>, and line ends, which may turn out to be the last, wait."""
    parser = ReasoningParser()
    assert parser.feed("<think>\nso") == [Reasoning("so")]
    assert parser.feed(" a <") == [Reasoning(" a ")]
    assert parser.feed("/b") == [Reasoning("</b")]
    assert parser.feed("\n") == []
    assert parser.feed("c</think>\n") == [Reasoning("\nc")]
    assert parser.feed("\nHi <") == [Content("Hi <")]


def test_thinking_sent_back_gives_the_answers_own_text(qwen3: Tokenizer, qwen3_folder: object) -> None:
    """Qwen3's template puts back just the markup that was left out."""
    template = ChatTemplate.from_folder(str(qwen3_folder), qwen3)
    answer = "<think>\nLet me\n\nthink.\n</think>\n\nHello!\n"
    thinking, content = parse([answer])
    turns = [{"role": "user", "content": "Hi"}]
    prompt = template.render(turns)
    echoed = {"role": "assistant", "content": content, "reasoning_content": thinking}
    assert template.render([*turns, echoed], (), {"add_generation_prompt": False}) == prompt + answer + "<|im_end|>\n"
