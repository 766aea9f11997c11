"""Repeat a text, turn a list of words round, count words."""

from __future__ import annotations

from random import Random

from ..example import Example, Language, ask
from ..invented import invented, invented_sentence, invented_word
from ..word_lists import CHINESE, CHINESE_CITIES, CHINESE_NAMES, EMOJI, ENGLISH, ENGLISH_CITIES, ENGLISH_NAMES

REPEAT: dict[Language, tuple[str, ...]] = {
    "zh": (
        "重复：",
        "请重复：",
        "跟我说：",
        "请跟我说：",
        "请重复下面的话：\n",
        "重复这句话：\n",
        "照着说一遍：",
        "复述：\n",
    ),
    "en": (
        "Repeat: ",
        "Please repeat: ",
        "Say: ",
        "Repeat after me: ",
        "Repeat this:\n",
        "Say this again: ",
        "Echo:\n",
    ),
}
REVERSE: dict[Language, tuple[str, ...]] = {
    "zh": ("倒序：", "请把这些词倒过来：", "把下面的词倒序写出来：\n", "请倒着写：", "反过来说：", "把词的顺序反过来：\n"),
    "en": (
        "Reverse: ", "Reverse these words: ", "Reverse the order of these words:\n", "Write these words backwards: ",
        "Please reverse: ", "Say these words in reverse order: ",
    ),
}  # fmt: skip
COUNT: dict[Language, tuple[str, ...]] = {
    "zh": ("数一数有几个词：", "这里有几个词：", "有多少个词：\n", "请数词：", "下面一共有几个词？\n", "数词："),
    "en": (
        "Count the words: ", "How many words are there: ", "How many words are here?\n", "Please count these words: ",
        "Count these words:\n", "Number of words: ",
    ),
}  # fmt: skip
WORDS: dict[Language, tuple[str, ...]] = {
    "zh": (*CHINESE, *CHINESE_NAMES, *CHINESE_CITIES),
    "en": (*ENGLISH, *ENGLISH_NAMES, *ENGLISH_CITIES),
}
BLOCKS = (
    (0x4E00, 0x9FA5), (0x4E00, 0x9FA5), (0x3041, 0x3096), (0xAC00, 0xD7A3), (0xC0, 0x24F), (0x391, 0x3C9),
    (0x410, 0x44F), (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6C5), (0x5D0, 0x5EA), (0x2190, 0x21FF),
)  # fmt: skip
"""Code points for texts that no vocabulary holds whole: Han, kana, hangul, accents, Greek, Cyrillic, emoji and more."""
PUNCTUATION: dict[Language, str] = {"zh": "，。！？、；", "en": ",.!?;:"}


def repeat(rng: Random, language: Language) -> Example:
    """The text after the colon again, letter by letter, whatever it is."""
    text = any_text(rng, language)
    thought = "用户要我重复，我照着写。" if language == "zh" else "The user wants a repetition, I write the same."
    return ask(rng.choice(REPEAT[language]) + text, text, thought)


def reverse(rng: Random, language: Language) -> Example:
    """Two to eight words of the vocabulary, last first."""
    return _reversed(rng, language, _list(rng, language, rng.randint(2, 8)))


def count_words(rng: Random, language: Language) -> Example:
    """One to twelve words of the vocabulary; the thought numbers them."""
    return _counted(rng, language, _list(rng, language, rng.randint(1, 12)))


def strange_words(rng: Random, language: Language) -> Example:
    """The last two tasks with words of no vocabulary among the others, which are several tokens each."""
    words = _list(rng, language, rng.randint(2, 8))
    strange = [invented(rng, "zh") if language == "zh" else invented_word(rng) for _ in words]
    words = [rng.choice(pair) for pair in zip(words, strange, strict=True)]
    return rng.choice((_reversed, _counted))(rng, language, words)


def _reversed(rng: Random, language: Language, words: list[str]) -> Example:
    between = _separator(rng, language)
    given, answer = between.join(words), between.join(reversed(words))
    prompt = rng.choice(REVERSE[language]) + given
    if language == "zh" and rng.random() < 0.15:
        prompt = rng.choice(("把{}倒过来", "把 {} 倒过来", "请把{}倒过来写")).format(given)
    thought = (
        "用户要倒序，我从最后一个词写起。" if language == "zh" else "In reverse order, I begin with the last word."
    )
    return ask(prompt, answer, thought)


def _counted(rng: Random, language: Language, words: list[str]) -> Example:
    thought = " ".join(f"{number} {word}" for number, word in enumerate(words, 1))
    total = len(words)
    answer = (
        f"一共有 {total} 个词。"
        if language == "zh"
        else f"There {'is 1 word' if total == 1 else f'are {total} words'}."
    )
    return ask(rng.choice(COUNT[language]) + _separator(rng, language).join(words), answer, thought)


def _list(rng: Random, language: Language, length: int) -> list[str]:
    """Words of the language, a fifth of the lists with words of the other among them; some words twice."""
    pool = WORDS[language] if rng.random() < 0.8 else (*WORDS["en"], *WORDS["zh"])
    return rng.choices(pool, k=length)


def _separator(rng: Random, language: Language) -> str:
    return " " if rng.random() < 0.7 else "、" if language == "zh" else ", "


def any_text(rng: Random, language: Language) -> str:
    """Words with punctuation, digits, emoji, sentences without sense, or characters of any script."""
    kind = rng.random()
    if kind < 0.15:
        parts = [invented_sentence(rng, language) for _ in range(rng.randint(1, 2))]
        end = rng.choice(("", "", ".", "!", "。", "！🎉", "?", " 21°C", "30%"))
        return ("，" if language == "zh" else ", ").join(parts) + end
    if kind < 0.25:
        return "".join(_characters(rng) for _ in range(rng.randint(1, 4)))
    if kind < 0.33:
        return "".join(rng.choices("0123456789", k=rng.randint(1, 12)))
    if kind < 0.4:
        return "".join(rng.choices(list(EMOJI), k=rng.randint(1, 6)))
    words = _list(rng, language, rng.randint(1, 14))
    if kind < 0.5:
        words[rng.randrange(len(words))] = rng.choice((_characters(rng), invented(rng, language)))
    if kind < 0.6:
        words[rng.randrange(len(words))] = rng.choice(list(EMOJI))
    between = " " if language == "en" or rng.random() < 0.5 else ""
    end = rng.choice(PUNCTUATION[language]) if rng.random() < 0.6 else ""
    return between.join(_with_comma(rng, language, word) for word in words) + end


def _with_comma(rng: Random, language: Language, word: str) -> str:
    return word + (rng.choice(PUNCTUATION[language]) if rng.random() < 0.15 else "")


def _characters(rng: Random) -> str:
    first, last = rng.choice(BLOCKS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4)))
