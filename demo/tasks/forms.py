"""JSON of a form that the prompt gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from ..example import Example, Language, ask
from ..invented import invented
from ..word_lists import CHINESE, CHINESE_CITIES, CHINESE_NAMES, ENGLISH, ENGLISH_CITIES, ENGLISH_NAMES

Value = str | int | bool
Draw = Callable[[Random, Language], Value]


def _either(english: tuple[str, ...], chinese: tuple[str, ...]) -> Draw:
    def draw(rng: Random, language: Language) -> str:
        return invented(rng, language) if rng.random() < 0.1 else rng.choice(english if language == "en" else chinese)

    return draw


def _below(limit: int) -> Draw:
    return lambda rng, _: rng.randrange(1, limit)


FIELDS: dict[str, tuple[str, str, Draw]] = {
    "name": ("姓名", "string", _either(ENGLISH_NAMES, CHINESE_NAMES)),
    "friend": ("朋友", "string", _either(ENGLISH_NAMES, CHINESE_NAMES)),
    "city": ("城市", "string", _either(ENGLISH_CITIES, CHINESE_CITIES)),
    "from": ("出发地", "string", _either(ENGLISH_CITIES, CHINESE_CITIES)),
    "to": ("目的地", "string", _either(ENGLISH_CITIES, CHINESE_CITIES)),
    "item": ("物品", "string", _either(ENGLISH, CHINESE)),
    "title": ("标题", "string", _either(ENGLISH, CHINESE)),
    "age": ("年龄", "number", _below(100)),
    "price": ("价格", "number", _below(1000)),
    "count": ("数量", "number", _below(50)),
    "year": ("年份", "number", lambda rng, _: rng.randint(1950, 2030)),
    "married": ("已婚", "boolean", lambda rng, _: rng.random() < 0.5),
    "paid": ("已付款", "boolean", lambda rng, _: rng.random() < 0.5),
}
"""Key, its Chinese name, its JSON type, and what draws a value."""
WITH_FORM: dict[Language, tuple[str, ...]] = {
    "zh": ("用 JSON 回答，格式为 {form}。{facts}", "按格式 {form} 输出 JSON：{facts}", "{facts}。请写成 JSON：{form}"),
    "en": (
        "Answer in JSON of the form {form}. {facts}",
        "{facts}. Write this as JSON: {form}",
        "As JSON {form}: {facts}",
    ),
}
WITH_KEYS: dict[Language, tuple[str, ...]] = {
    "zh": (
        "用 JSON 回答，键为 {keys}。{facts}",
        "把信息写成 JSON，键：{keys}。\n{facts}",
        "{facts}。写成 JSON，只要 {keys}",
    ),
    "en": (
        "Answer in JSON with the keys {keys}. {facts}",
        "{facts}. Write JSON with the keys {keys}.",
        "JSON, keys {keys}:\n{facts}",
    ),
}


def json_form(rng: Random, language: Language) -> Example:
    """One to four facts are asked for, in the order of the form, out of one to five that are told in any order."""
    told = rng.sample(list(FIELDS), rng.randint(1, 5))
    asked = rng.sample(told, rng.randint(1, min(4, len(told))))
    chinese_keys = language == "zh" and rng.random() < 0.4
    values = {key: FIELDS[key][2](rng, language) for key in told}
    names = {key: FIELDS[key][0] if chinese_keys else key for key in told}
    answer = json.dumps({names[key]: values[key] for key in asked}, ensure_ascii=False)
    if rng.random() < 0.6:
        form = json.dumps({names[key]: FIELDS[key][1] for key in asked}, ensure_ascii=False)
        prompt = rng.choice(WITH_FORM[language]).format(form=form, facts=_facts(language, values))
    else:
        prompt = rng.choice(WITH_KEYS[language]).format(
            keys=", ".join(names[key] for key in asked), facts=_facts(language, values)
        )
    thought = "按要求的键写 JSON。" if language == "zh" else "I write JSON with the keys asked for."
    return ask(prompt, answer, thought)


def _facts(language: Language, values: dict[str, Value]) -> str:
    if language == "zh":
        return "，".join(f"{FIELDS[key][0]} {_shown(value, '是', '否')}" for key, value in values.items())
    return ", ".join(f"{key} {_shown(value, 'yes', 'no')}" for key, value in values.items())


def _shown(value: Value, yes: str, no: str) -> str:
    return (yes if value else no) if isinstance(value, bool) else str(value)
