"""Words that nobody knows, so that names and places are copied from the prompt, not remembered."""

from __future__ import annotations

from random import Random

from .example import Language

HAN = (
    "安白博昌诚达德方飞高国海和华吉佳江金康兰乐林龙美明南宁平奇清荣瑞山石顺泰天同万文西新兴雅阳义永玉云泽正中州"
    "今天气很好我们去公园玩吧他在家里看书昨晚下雨了请问这是谁的东西可以帮忙吗不知道为什么要走快点来吃饭学习工作生活世界"
)
SYLLABLES = (
    "ba be bi bo ca co da de di do el er fa fi fo ga go gu ha he hi ho in ing ja jo ka ki la le li lo ly ma me mi mo na "
    "ne ni no on or ox pa po pu qu ra re ri ro sa se sh si so st ta te th ti to un va ve vi wa we wi wo ya yo za"
).split()
STATES = ("CA", "NY", "TX", "UK", "FR", "WA", "MA", "China", "Japan")


def invented(rng: Random, language: Language) -> str:
    """A name of two or three characters, or of one or two words of syllables; at times with its state."""
    if language == "zh":
        return "".join(rng.choices(HAN, k=rng.randint(2, 3)))
    words = " ".join(invented_word(rng).capitalize() for _ in range(rng.choice((1, 1, 2))))
    return f"{words}, {rng.choice(STATES)}" if rng.random() < 0.15 else words


def invented_word(rng: Random) -> str:
    """An English-looking word in small letters."""
    return "".join(rng.choices(SYLLABLES, k=rng.randint(1, 4)))


def invented_sentence(rng: Random, language: Language) -> str:
    """Words or characters without sense, 3 to 14 of them."""
    if language == "zh":
        return "".join(rng.choices(HAN, k=rng.randint(3, 14)))
    return " ".join(invented_word(rng) for _ in range(rng.randint(2, 9))).capitalize()
