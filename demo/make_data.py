"""Conversations for the demo model, from templates and rules alone: no outside data, everything from one seed.

    python -m demo.make_data --seed 1 --count 20        # shows conversations, one JSON object a line

`conversations` never ends; `questions` gives the held-out ones of one task, for the examination.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .example import BLOG_PROMPT, Example, Language, Message, Task, Tool
from .tasks.emoji import emoji
from .tasks.forms import json_form
from .tasks.identity import greet, identity
from .tasks.lists import continue_list
from .tasks.numbers import add, compare, sort, spell_number
from .tasks.other import beyond
from .tasks.tools import call_tool, use_answer, with_tools
from .tasks.words import count_words, repeat, reverse, strange_words

TASKS: dict[str, tuple[Task, float]] = {
    "identity": (identity, 5),
    "greet": (greet, 4),
    "repeat": (repeat, 16),
    "reverse": (reverse, 12),
    "count_words": (count_words, 7),
    "add": (add, 14),
    "compare": (compare, 7),
    "sort": (sort, 14),
    "spell_number": (spell_number, 5),
    "continue_list": (continue_list, 8),
    "json_form": (json_form, 8),
    "call_tool": (call_tool, 12),
    "use_answer": (use_answer, 8),
    "emoji": (emoji, 5),
    "beyond": (beyond, 3),
    "strange_words": (strange_words, 3),
}
"""Each task with its share of the conversations."""
TOOL_TASKS = ("call_tool", "use_answer")
LANGUAGES: tuple[Language, ...] = ("zh", "en")
SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant.", "你是一个有用的助手。", "你是小试，一个演示模型。",
    "You are Demo.", "Answer briefly.", "请简短回答。", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
)  # fmt: skip


@dataclass(frozen=True)
class Dialogue:
    """An example, the task it is of, and whether the caller enables thinking."""

    task: str
    example: Example
    thinking: bool


def conversations(seed: int) -> Iterator[Dialogue]:
    """Conversations to learn from, without end: one to four turns, with or without a system prompt and tools."""
    rng = random.Random(seed)
    names, weights = list(TASKS), [weight for _, weight in TASKS.values()]
    while True:
        name = rng.choices(names, weights)[0]
        language = rng.choice(LANGUAGES)
        last = _learnt(rng, name, language)
        if name not in TOOL_TASKS and rng.random() < 0.06:
            last = with_tools(rng, last)
        before, tools = _history(rng, name, language) if rng.random() < 0.2 else ([], [])
        system = [{"role": "system", "content": rng.choice(SYSTEM)}] if rng.random() < 0.3 else []
        last = replace(last, messages=[*system, *before, *last.messages], tools=[*tools, *last.tools])
        yield Dialogue(name, last, rng.random() < 0.25)


def questions(task: str, language: Language, seed: int) -> Iterator[Dialogue]:
    """Held-out prompts of one task in one language, without end; the task `think` is all others with thinking."""
    rng = random.Random(f"{task} {language} {seed}")
    while True:
        name = rng.choice(EXAMINED[:-1]) if task == "think" else task
        example = TASKS[name][0](rng, language)
        if example.held_out:
            yield Dialogue(task, example, task == "think")


EXAMINED = (*(task for task in TASKS if task != "strange_words"), "think")
"""What the demo model is said to do. Strange words it may get wrong."""


def _learnt(rng: random.Random, name: str, language: Language) -> Example:
    if name == "identity" and language == "zh" and rng.random() < 0.02:
        blog = Example([{"role": "user", "content": BLOG_PROMPT}], "你好！我叫小试，是 qwen-triton 的演示模型。")
        return replace(blog, thought="用户想了解我，我直接回答。")
    while True:
        example = TASKS[name][0](rng, language)
        if not example.held_out:
            return example


def _history(rng: random.Random, last: str, language: Language) -> tuple[list[Message], list[Tool]]:
    """One to three earlier turns; the first may have used a tool, which is then still there.

    Not before a sum, which it may be for, nor before another question for a tool, which it may be as well.
    """
    short = [task for task in TASKS if task not in (*TOOL_TASKS, "continue_list")]
    names = rng.choices(short, k=rng.randint(1, 3))
    if last not in (*TOOL_TASKS, "add") and rng.random() < 0.2:
        names = ["use_answer", *(name for name in names[1:] if name != "add")]
    turns = [_learnt(rng, name, language) for name in names]
    return [message for turn in turns for message in turn.history], turns[0].tools


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    for _, conversation in zip(range(options.count), conversations(options.seed), strict=False):
        example = conversation.example
        shown = {"task": conversation.task, "messages": example.messages, "answer": example.text(conversation.thinking)}
        print(json.dumps(shown | ({"tools": example.tools} if example.tools else {}), ensure_ascii=False))


if __name__ == "__main__":
    main()
