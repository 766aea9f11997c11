"""Tools that a prompt may offer, each under several names, and what is asked of them and answered by them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from .example import Language, Message, Tool
from .invented import invented
from .tasks.numbers import ADD
from .tasks.words import any_text
from .word_lists import CHINESE, CHINESE_CITIES, CHINESE_NAMES, ENGLISH, ENGLISH_CITIES, ENGLISH_NAMES

Names = tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A sort of tool. `parameters` in order, each with its possible names; the first `required` ones must be given.

    `prompts` name the values by position: {0} is the first parameter's. `report` is the sentence for the tool's
    result, whose fields and values stand in `result`; without it the result is handed on as it stands.
    """

    names: Names
    descriptions: Names
    parameters: tuple[Names, ...]
    prompts: dict[Language, Names]
    report: dict[Language, str] | None = None


WEATHER = Kind(
    ("get_weather", "get_current_weather", "query_weather", "weather", "get_weather_forecast"),
    ("Get the current weather", "Get the weather of a city", "查询天气", "查询城市天气", "Weather now"),
    (("city", "location", "place", "address"),),
    {
        "en": (
            "What is the weather in {0}?", "How is the weather in {0}?", "Weather in {0}?", "What's the weather like in {0}?",
            "Tell me the weather in {0}.", "Is it raining in {0}?", "How warm is it in {0}?", "{0} weather please",
            "What is the weather like in {0} today?", "How is the weather in {0} today?",
        ),
        "zh": (
            "{0}天气怎么样？", "{0}今天天气怎么样？", "今天{0}的天气如何？", "查一下{0}的天气", "{0}下雨了吗？", "{0}多少度？",
            "请问{0}天气如何？", "我想知道{0}的天气", "{0}的天气", "帮我查{0}今天的天气",
        ),
    },
    {"en": "It is {condition} in {0}, {temperature} degrees.", "zh": "{0}现在{condition}，气温 {temperature} 度。"},
)  # fmt: skip
TIME = Kind(
    ("get_time", "get_current_time", "query_time", "current_time", "clock"),
    ("Get the current time", "Get the time in a city", "查询时间", "查询当地时间", "Local time"),
    (("city", "location", "place", "timezone"),),
    {
        "en": (
            "What time is it in {0}?", "What is the time in {0}?", "Time in {0}?", "Tell me the time in {0}.",
            "How late is it in {0}?", "What time is it now in {0}?", "Current time in {0}", "{0} time please",
        ),
        "zh": (
            "{0}现在几点？", "{0}几点了？", "现在{0}是几点？", "查一下{0}的时间", "{0}的时间", "请问{0}现在几点了？",
            "我想知道{0}的时间", "帮我查{0}的时间",
        ),
    },
    {"en": "It is {time} in {0}.", "zh": "{0}现在是 {time}。"},
)  # fmt: skip
TIMES: dict[Language, Names] = {
    "en": (
        "{a} * {b} = ?",
        "{a}*{b}",
        "What is {a} * {b}?",
        "What is {a} times {b}?",
        "Calculate {a} * {b}",
        "Multiply {a} by {b}.",
    ),
    "zh": (
        "{a} * {b} = ?",
        "{a}*{b}",
        "{a} 乘 {b} 等于多少？",
        "{a} 乘以 {b} 是多少？",
        "计算 {a} * {b}",
        "{a} × {b} 是多少？",
    ),
}
CALCULATOR = Kind(
    ("calculator", "calculate", "compute", "evaluate", "calc"),
    ("Evaluate an arithmetic expression", "A calculator", "计算器", "计算算式的值", "Compute a result"),
    (("expression", "formula", "input"),),
    {"en": (), "zh": ()},
    {"en": "{0} = {result}", "zh": "{0} = {result}"},
)
SEARCH = Kind(
    ("search", "web_search", "search_web", "google_search", "find"),
    ("Search the web", "Find pages on a subject", "搜索网页", "网络搜索", "Web search"),
    (("query", "keyword", "q"),),
    {
        "en": ("Search for {0}.", "Search the web for {0}", "Look up {0} on the web.", "Find pages about {0}", "Google {0}"),
        "zh": ("搜索{0}", "在网上搜一下{0}", "帮我搜索{0}", "查找关于{0}的网页", "上网查{0}"),
    },
)  # fmt: skip
TRANSLATE = Kind(
    ("translate", "translate_text", "translator", "translation"),
    ("Translate a text", "Translate words into another language", "翻译文字", "翻译成其他语言"),
    (("text", "content"), ("target_language", "language", "to")),
    {
        "en": (
            "Translate {0} into {1}.",
            "Please translate {0} to {1}",
            "What is {0} in {1}?",
            "Translate to {1}: {0}",
        ),
        "zh": ("把{0}翻译成{1}", "请将{0}翻译成{1}", "{0}用{1}怎么说？", "翻译成{1}：{0}"),
    },
)
EMAIL = Kind(
    ("send_email", "send_mail", "email", "mail"),
    ("Send an email", "Write a mail to somebody", "发送邮件", "发电子邮件"),
    (("to", "recipient"), ("subject", "title")),
    {
        "en": ("Send {0} an email about {1}.", "Email {0} about {1}", "Write a mail to {0}, subject {1}"),
        "zh": ("给{0}发一封关于{1}的邮件", "发邮件给{0}，主题是{1}", "写邮件给{0}，标题{1}"),
    },
)
ALARM = Kind(
    ("set_alarm", "create_alarm", "alarm", "wake_up"),
    ("Set an alarm", "Set an alarm clock", "设置闹钟", "设闹钟"),
    (("time", "at"),),
    {
        "en": ("Set an alarm for {0}.", "Wake me up at {0}", "Alarm at {0} please", "Please set the alarm to {0}"),
        "zh": ("设一个 {0} 的闹钟", "{0} 叫我起床", "请把闹钟设到 {0}", "帮我定 {0} 的闹钟"),
    },
)
MUSIC = Kind(
    ("play_music", "play_song", "play", "music_player"),
    ("Play a song", "Play music", "播放音乐", "播放歌曲"),
    (("song", "title", "name"),),
    {
        "en": ("Play the song {0}.", "Play {0}", "I want to hear {0}", "Please play {0} for me"),
        "zh": ("播放{0}", "放一首{0}", "我想听{0}", "请给我放{0}这首歌"),
    },
)
KINDS = (WEATHER, TIME, CALCULATOR, SEARCH, TRANSLATE, EMAIL, ALARM, MUSIC)
LANGUAGES: dict[Language, Names] = {
    "en": ("French", "German", "Spanish", "Chinese", "Japanese"),
    "zh": ("英语", "法语", "德语", "日语", "西班牙语"),
}
CONDITIONS: dict[Language, Names] = {
    "en": ("sunny", "cloudy", "rainy", "snowy", "windy", "foggy", "clear", "stormy"),
    "zh": ("晴", "多云", "下雨", "下雪", "有风", "有雾", "阴天", "有雷雨"),
}
RESULT_KEYS = ("temp", "weather", "status", "error", "message", "ok", "id", "value", "answer", "data", "unit")
DESCRIPTIONS = ("{}", "The {}", "the {} that is asked for", "The {}, e.g. San Francisco, CA", "{} 参数")
VERBS = (
    "get",
    "set",
    "open",
    "close",
    "find",
    "check",
    "start",
    "stop",
    "read",
    "write",
    "list",
    "make",
    "add",
    "order",
)


@dataclass(frozen=True)
class Offer:
    """A tool as one prompt offers it: of a kind, under one of its names."""

    kind: Kind
    name: str
    parameters: Names
    schema: Tool

    def call(self, values: Names) -> Message:
        """The call with these values of its parameters."""
        return {"name": self.name, "arguments": dict(zip(self.parameters, values, strict=True))}


def offer(rng: Random, kind: Kind) -> Offer:
    """One tool of a kind; descriptions of the parameters are there or not, as callers have it."""
    name = rng.choice(kind.names)
    parameters = tuple(rng.choice(names) for names in kind.parameters)
    described = rng.random() < 0.5
    properties: dict[str, Any] = {
        p: {"type": "string", "description": rng.choice(DESCRIPTIONS).format(p.replace("_", " "))}
        if described
        else {"type": "string"}
        for p in parameters
    }
    if kind is WEATHER and rng.random() < 0.3:  # a choice that nobody asks for is left out of the call
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        schema["required"] = list(parameters)
    function: dict[str, Any] = {"name": name, "description": rng.choice(kind.descriptions), "parameters": schema}
    if rng.random() < 0.1:
        del function["description"]
    return Offer(kind, name, parameters, {"type": "function", "function": function})


def made_up(rng: Random) -> Kind:
    """A tool that nobody has seen: its name and parameters are words put together; it is asked for by name."""
    name = f"{rng.choice(VERBS)}_{rng.choice(ENGLISH)}"
    parameters = tuple((word,) for word in rng.sample(ENGLISH, rng.randint(1, 3)))
    told = " and ".join(f"{names[0]} {{{i}}}" for i, names in enumerate(parameters))
    told_zh = "，".join(f"{names[0]} 为 {{{i}}}" for i, names in enumerate(parameters))
    english = (f"Call {name} with {told}.", f"Use {name}: {told}", f"Please call {name}, {told}")
    chinese = (f"调用 {name}，{told_zh}", f"请用 {name}：{told_zh}", f"使用工具 {name}，{told_zh}。")
    return Kind((name,), (name.replace("_", " "),), parameters, {"en": english, "zh": chinese})


def values_for(rng: Random, kind: Kind, language: Language) -> Names:
    """Values of all parameters, as a prompt gives them; every fifth is a word of no vocabulary."""
    known = _known_values(rng, kind, language)
    if kind is ALARM:
        return known
    return tuple(
        invented(rng, language) if value not in LANGUAGES[language] and rng.random() < 0.2 else value for value in known
    )


def _known_values(rng: Random, kind: Kind, language: Language) -> Names:
    english = language == "en"
    cities, names = (ENGLISH_CITIES, ENGLISH_NAMES) if english else (CHINESE_CITIES, CHINESE_NAMES)
    words = ENGLISH if english else CHINESE
    if kind in (WEATHER, TIME):
        return (rng.choice(cities),)
    if kind is ALARM:
        return (clock_time(rng),)
    if kind is TRANSLATE:
        return (rng.choice(words), rng.choice(LANGUAGES[language]))
    if kind is EMAIL:
        return (rng.choice(names), rng.choice(words))
    if kind in (SEARCH, MUSIC):
        return (" ".join(rng.sample(words, rng.randint(1, 2 if english else 1))),)
    return tuple(rng.choice((*words, *names, *cities, str(rng.randrange(100)))) for _ in kind.parameters)


def calculation(rng: Random, language: Language) -> tuple[str, str, int]:
    """A prompt, the expression in it, and its value; sums are asked for as in the task `add`."""
    a, b = rng.randrange(1, 10 ** rng.randint(1, 3)), rng.randrange(1, 10 ** rng.randint(1, 3))
    pick = rng.random()
    if pick < 0.35:
        return rng.choice(ADD[language]).format(a=a, b=b), f"{a} + {b}", a + b
    if pick < 0.55:
        asked = (
            ("What is {}?", "Calculate {}", "{}", "{} = ?")
            if language == "en"
            else ("计算 {}", "{} 等于多少？", "{}", "{} = ?")
        )
        expression, value = _nested(rng, a, b)
        return rng.choice(asked).format(expression), expression, value
    return rng.choice(TIMES[language]).format(a=a, b=b), f"{a} * {b}", a * b


def _nested(rng: Random, a: int, b: int) -> tuple[str, int]:
    c = rng.randrange(1, 20)
    return rng.choice(
        (
            (f"({a} + {b}) * {c}", (a + b) * c),
            (f"({a}+{b})*{c}", (a + b) * c),
            (f"{a} - {b}", a - b),
            (f"{c} * ({a} - {b})", c * (a - b)),
        )
    )


def result_of(rng: Random, kind: Kind, language: Language, value: int) -> dict[str, Any]:
    """What a tool of this kind with a `report` answers."""
    if kind is WEATHER:
        return {"temperature": rng.randint(-20, 40), "condition": rng.choice(CONDITIONS[language])}
    return {"time": clock_time(rng)} if kind is TIME else {"result": value}


def plain_result(rng: Random, language: Language) -> str:
    """An answer of a tool that is to be handed on as it stands: a text, or JSON."""
    if rng.random() < 0.5:
        return any_text(rng, language)
    words = rng.sample((*ENGLISH, *RESULT_KEYS, *RESULT_KEYS), rng.randint(1, 4))
    fields = {key: rng.choice((any_text(rng, language), rng.randrange(1000), rng.random() < 0.5)) for key in words}
    return json.dumps(fields, ensure_ascii=False)


def clock_time(rng: Random) -> str:
    """Hours and minutes, 07:05."""
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}"
