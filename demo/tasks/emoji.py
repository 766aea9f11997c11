"""Emoji when asked for."""

from __future__ import annotations

from random import Random

from ..example import Example, Language, ask
from ..word_lists import EMOJI

ONE: dict[Language, tuple[str, ...]] = {
    "zh": (
        "用表情表示{w}",
        "{w}的表情是什么？",
        "给我一个{w}的表情",
        "发一个{w}表情",
        "用 emoji 表示：{w}",
        "{w}的 emoji",
    ),
    "en": (
        "Emoji for {w}",
        "Show me the emoji for {w}.",
        "What is the emoji for {w}?",
        "Give me an emoji of {w}",
        "Send {w} as emoji",
    ),
}
MANY: dict[Language, tuple[str, ...]] = {
    "zh": (
        "给我 {n} 个{w}的表情",
        "发 {n} 个{w}表情",
        "用 {n} 个 emoji 表示{w}",
        "连发 {n} 个{w}表情",
        "请发{n}个{w}的 emoji",
        "给我{n}个{w}表情",
        "{n}个{w}的表情",
    ),
    "en": (
        "Give me {n} emoji of {w}",
        "Send {n} emoji: {w}",
        "Show the emoji for {w} {n} times.",
        "I want {n} {w} emoji",
    ),
}
SEVERAL: dict[Language, tuple[str, ...]] = {
    "zh": ("用表情写：{w}", "把这些词换成表情：{w}", "换成 emoji：{w}"),
    "en": ("Write as emoji: {w}", "Turn these words into emoji: {w}", "In emoji: {w}"),
}


def emoji(rng: Random, language: Language) -> Example:
    """The emoji of a word, once or up to ten times, or those of several words."""
    kind = rng.random()
    signs = rng.sample(list(EMOJI), rng.randint(2, 5))
    names = [EMOJI[sign][language == "zh"] for sign in signs]
    thought = "用户要表情。" if language == "zh" else "The user wants emoji."
    if kind < 0.25:
        return ask(rng.choice(ONE[language]).format(w=names[0]), signs[0], thought)
    if kind < 0.65:
        number = rng.randint(1, 10)
        return ask(rng.choice(MANY[language]).format(w=names[0], n=number), signs[0] * number, thought)
    separator = "、" if language == "zh" else ", "
    return ask(rng.choice(SEVERAL[language]).format(w=separator.join(names)), "".join(signs), thought)
