"""Makes prompts of an exact number of tokens: ids of ordinary words, or text of such words.

Ids come from a text that the tokenizer has encoded, so each is one that occurs in real prompts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from qwen_triton.errors import ConfigurationError

from .tokenizer import Encode

_TEXT = (
    "the quick brown fox jumps over a lazy dog while people read books about rivers mountains cities science music "
    "history language computers memory numbers questions answers weather travel food water light time world house "
    "school family work money health energy paper window garden street market bridge morning evening winter summer "
    "大模型 推理 加速 你好 请问 名字 介绍 中国 北京 上海 学习 工作 时间 问题 答案 世界 城市 历史 语言 音乐 科学 数据 "
    "服务 系统 网络 计算 内存 速度 今天 明天 天气 旅行 食物 水 光 家 学校 市场 桥 早晨 晚上 冬天 夏天 我们 他们 可以 需要"
)
_ROUNDS = 12
_FILLER = "0123456789"
"""Qwen's tokenizer never joins digits: each is one token, whatever stands before it."""


class PromptText:
    """Makes random prompts; the same seed gives the same ones."""

    def __init__(self, encode: Encode, seed: int) -> None:
        self._encode = encode
        self._random = random.Random(seed)
        self._words = _TEXT.split()
        self._ids = sorted({i for ids in encode([_TEXT]) for i in ids})

    def token_ids(self, count: int) -> tuple[int, ...]:
        return tuple(self._random.choices(self._ids, k=count))

    def texts(self, counts: Sequence[int]) -> list[str]:
        """One text for each token count. Raises ConfigurationError when no text of exactly so many tokens was found."""
        words = [self._random.choices(self._words, k=count) for count in counts]
        found = [" ".join(w) for w in words]
        open_ = list(range(len(counts)))
        for _ in range(_ROUNDS):
            lengths = [len(ids) for ids in self._encode([found[i] for i in open_])]
            wrong = [(i, n) for i, n in zip(open_, lengths, strict=True) if n != counts[i]]
            if not wrong:
                return found
            for i, length in wrong:
                found[i] = self._nearer(found[i], words[i], counts[i] - length)
            open_ = [i for i, _ in wrong]
        raise ConfigurationError(
            f"no text of exactly {counts[open_[0]]} tokens was found with this tokenizer; mode core sends ids and needs none"
        )

    def _nearer(self, text: str, words: list[str], missing: int) -> str:
        """A text nearer to the count: `missing` digits appended, or as many of the last `words` removed."""
        if missing > 0:
            return text + self._digits(missing)
        del words[missing:]
        return " ".join(words) or self._digits(1)

    def _digits(self, count: int) -> str:
        return "".join(self._random.choices(_FILLER, k=count))
