"""Continue a numbered list for as long as asked; count on."""

from __future__ import annotations

from random import Random

from ..example import Example, Language, ask
from ..word_lists import CHINESE, ENGLISH

CONTINUE: dict[Language, tuple[str, ...]] = {
    "zh": ("续写这个列表，到第 {n} 项为止：\n", "把列表写到 {n}：\n", "接着写，一直写到 {n}：\n", "继续编号列表，直到 {n}：\n"),
    "en": (
        "Continue this list up to {n}:\n", "Go on with this numbered list until {n}:\n", "Continue the list to {n}:\n",
        "Please continue until number {n}:\n",
    ),
}  # fmt: skip
COUNT_ON: dict[Language, tuple[str, ...]] = {
    "zh": ("从 {a} 数到 {n}", "请从 {a} 数到 {n}。", "从 {a} 一直数到 {n}", "写出 {a} 到 {n} 的数字"),
    "en": (
        "Count from {a} to {n}",
        "Please count from {a} to {n}.",
        "Write the numbers from {a} to {n}.",
        "Count {a} to {n}",
    ),
}


def continue_list(rng: Random, language: Language) -> Example:
    """The given items over and over, one a line, up to the number asked for; or the bare numbers."""
    if rng.random() < 0.25:
        return _count_on(rng, language)
    words = rng.sample(ENGLISH if language == "en" else CHINESE, rng.randint(1, 5))
    first = len(words) + (0 if rng.random() < 0.7 else rng.randint(0, 3))
    last = first + _length(rng)
    lines = [f"{number}. {words[(number - 1) % len(words)]}" for number in range(1, last + 1)]
    prompt = rng.choice(CONTINUE[language]).format(n=last) + "\n".join(lines[:first])
    thought = (
        f"下一项是 {first + 1}，最后一项是 {last}。"
        if language == "zh"
        else f"Next is {first + 1}, the last is {last}."
    )
    return ask(prompt, "\n".join(lines[first:]), thought)


def _count_on(rng: Random, language: Language) -> Example:
    first = rng.choice((1, 1, rng.randint(0, 150)))
    last = first + _length(rng)
    if first == 1 and rng.random() < 0.3:
        prompt = rng.choice(
            ("数到 {}", "请数到 {}。", "数到{}") if language == "zh" else ("Count to {}", "Count to {}.")
        )
        return ask(prompt.format(last), _numbers(first, last), _from_to(language, first, last))
    prompt = rng.choice(COUNT_ON[language]).format(a=first, n=last)
    return ask(prompt, _numbers(first, last), _from_to(language, first, last))


def _numbers(first: int, last: int) -> str:
    return ", ".join(map(str, range(first, last + 1)))


def _from_to(language: Language, first: int, last: int) -> str:
    return f"从 {first} 到 {last}。" if language == "zh" else f"From {first} to {last}."


def _length(rng: Random) -> int:
    """Mostly a few items, at times very many."""
    return rng.randint(1, rng.choice((8, 8, 16, 16, 30, 60, 120)))
