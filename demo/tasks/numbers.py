"""Add, compare, sort, and spell numbers in Chinese."""

from __future__ import annotations

from random import Random

from ..example import Example, Language, ask

ADD: dict[Language, tuple[str, ...]] = {
    "zh": (
        "{a} + {b} = ?", "{a}+{b}", "{a} 加 {b} 等于多少？", "{a} 加 {b} 是多少？", "计算 {a} + {b}", "请算一下 {a}+{b}",
        "{a}加{b}等于几", "{a}加{b}等于多少", "{a} + {b}等于几？", "{a}+{b}=?", "{a}+{b}=", "{a}+{b}是多少",
    ),
    "en": (
        "{a} + {b} = ?", "{a}+{b}", "What is {a} + {b}?", "What is {a} plus {b}?", "Add {a} and {b}.",
        "Calculate {a} + {b}", "How much is {a} + {b}?", "{a}+{b}=?", "{a} + {b} =", "What is {a}+{b}?", "{a} plus {b}",
    ),
}  # fmt: skip
COMPARE: dict[Language, tuple[str, ...]] = {
    "zh": ("{a} 和 {b} 哪个大？", "{a} 和 {b} 哪个更大？", "比较 {a} 和 {b}", "哪个数大，{a} 还是 {b}？", "比一比 {a} 和 {b}。",
        "{a}和{b}哪个大", "{a}和{b}谁大？", "{a}和{b}哪个更大", "{a}大还是{b}大？"),
    "en": (
        "Which is larger, {a} or {b}?", "Compare {a} and {b}.", "Which number is bigger, {a} or {b}?",
        "Is {a} or {b} larger?", "Which is greater: {a} or {b}?",
    ),
}  # fmt: skip
UP: dict[Language, tuple[str, ...]] = {
    "zh": (
        "从小到大排序：",
        "请从小到大排列：",
        "把这些数从小到大排序：\n",
        "排序：",
        "升序排列：",
        "排序 ",
        "请排序：",
    ),
    "en": (
        "Sort: ",
        "Sort these numbers: ",
        "Sort from small to large: ",
        "Sort in ascending order:\n",
        "Please sort: ",
    ),
}
DOWN: dict[Language, tuple[str, ...]] = {
    "zh": ("从大到小排序：", "请从大到小排列：", "把这些数从大到小排序：\n", "倒着排序：", "降序排列："),
    "en": ("Sort from large to small: ", "Sort in descending order: ", "Sort these numbers downwards:\n"),
}
SPELL: dict[Language, tuple[str, ...]] = {
    "zh": ("{n} 用中文怎么写？", "用中文写出数字 {n}", "把 {n} 写成中文数字", "{n} 的中文数字是什么？", "{n} 怎么读？"),
    "en": (
        "Write {n} in Chinese.", "How do you write {n} in Chinese?", "Spell {n} in Chinese characters.",
        "What is {n} in Chinese?", "Chinese for {n}",
    ),
}  # fmt: skip


def add(rng: Random, language: Language) -> Example:
    """Two numbers of up to three digits; the thought goes column by column from the ones."""
    a, b = _number(rng), _number(rng)
    prompt = rng.choice(ADD[language]).format(a=a, b=b)
    return ask(prompt, f"{a} + {b} = {a + b}", "\n".join(_columns(a, b)))


def compare(rng: Random, language: Language) -> Example:
    """Two numbers of up to three digits, near each other half of the time."""
    a = _number(rng)
    b = _number(rng) if rng.random() < 0.5 else max(0, a + rng.randint(-12, 12))
    prompt = rng.choice(COMPARE[language]).format(a=a, b=b)
    sign = "=" if a == b else ">" if a > b else "<"
    low, high = sorted((a, b))
    if language == "zh":
        answer = f"{a} 和 {b} 一样大。" if a == b else f"{high} 比 {low} 大。"
    else:
        answer = f"{a} and {b} are equal." if a == b else f"{high} is larger than {low}."
    return ask(prompt, answer, f"{a} {sign} {b}")


def sort(rng: Random, language: Language) -> Example:
    """Two to seven numbers below 100, or up to four below 1000; no number twice."""
    numbers = (
        rng.sample(range(100), rng.randint(2, 7)) if rng.random() < 0.7 else rng.sample(range(1000), rng.randint(2, 4))
    )
    down = rng.random() < 0.4
    prompt = rng.choice((DOWN if down else UP)[language]) + "{}"
    if language == "zh" and rng.random() < 0.2:
        prompt = "把 {} 从大到小排序" if down else rng.choice(("把 {} 排序", "把 {} 从小到大排序"))
    separator = rng.choice((", ", ", ", " ", "，", "、", ",") if language == "zh" else (", ", ", ", " ", ","))
    answer = ", ".join(map(str, sorted(numbers, reverse=down)))
    first = max(numbers) if down else min(numbers)
    thought = f"从 {first} 开始。" if language == "zh" else f"I begin with {first}."
    return ask(prompt.format(separator.join(map(str, numbers))), answer, thought)


def spell_number(rng: Random, language: Language) -> Example:
    """A number below 10,000 in Chinese characters."""
    number = rng.randrange(10 ** rng.randint(1, 4))
    prompt = rng.choice(SPELL[language]).format(n=number)
    thought = f"{number} 有 {len(str(number))} 位。" if language == "zh" else f"{number} has {len(str(number))} digits."
    return ask(prompt, chinese_number(number), thought)


def chinese_number(number: int) -> str:
    """`number`, 0 to 9999, as it is written out; zeros between digits become one 零, 10 to 19 begin with 十."""
    text = ""
    for power, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // power % 10
        if digit:
            text += "零一二三四五六七八九"[digit] + unit
        elif text and not text.endswith("零") and number % power:
            text += "零"
    return (text[1:] if text.startswith("一十") else text) or "零"


def _number(rng: Random) -> int:
    return rng.randrange(10 ** rng.choice((1, 2, 2, 3)))


def _columns(a: int, b: int) -> list[str]:
    lines, carry = [], 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        lines.append(f"{x} + {y}{' + 1' if carry else ''} = {x + y + carry}")
        carry = (x + y + carry) // 10
    return lines
