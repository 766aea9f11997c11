"""Questions beyond the model: it says so, and what it can do."""

from __future__ import annotations

from random import Random

from ..example import Example, Language, ask
from ..invented import invented, invented_sentence
from ..word_lists import CHINESE, CHINESE_CITIES, CHINESE_NAMES, ENGLISH, ENGLISH_CITIES, ENGLISH_NAMES
from .identity import ABILITIES

PROMPTS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Write a poem about {w}.", "Tell me a story about {w} and {v}", "What is {w}?", "What is the capital of {c}?",
        "Why is {w} better than {v}?", "Tell me a joke", "Explain {w} to me.", "How do I make {w}?", "Where is {c}?",
        "Who is {n}?", "What do you think about {w}?", "Write a program for {w}", "Give me advice on {w}.",
        "When was {c} founded?", "Do you like {w}?", "Is {n} my {w}?", "I like {w} and {v}.", "The {w} is in the {v}.",
        "Summarise the history of {c}", "What happened to {n} in {c}?", "Plan a trip to {c} for {n}", "{w} {v}",
        "Describe {w} in detail.", "How far is {c} from here?", "What does {w} mean?", "Can {w} have {v}?",
        "Write a long story.", "Write a list of {w} and {v}",
        "Write me something about {w}", "{s}", "{s}.", "{s}?", "What is {s}?", "Please {s}",
    ),
    "zh": (
        "写一首关于{w}的诗", "讲一个{w}和{v}的故事", "{w}是什么？", "{c}在哪里？", "为什么{w}比{v}好？", "讲个笑话",
        "解释一下{w}", "怎么做{w}？", "{n}是谁？", "你觉得{w}怎么样？", "写一个{w}的程序", "给我一些关于{w}的建议",
        "{c}有多少人？", "你喜欢{w}吗？", "{n}有{w}吗？", "我喜欢{w}和{v}。", "{w}在{v}里。", "介绍一下{c}的历史",
        "{n}在{c}做什么？", "帮{n}计划去{c}的旅行", "{w}{v}", "详细描述{w}", "{c}离这里多远？", "{w}是什么意思？",
        "说一个很长的故事", "写一篇关于{w}的文章", "{s}", "{s}。", "{s}？", "请问{s}？", "{s}是什么？",
    ),
}  # fmt: skip
SORRY = {
    "en": f"Sorry, I am only a small demonstration model and cannot do that. {ABILITIES['en']}",
    "zh": f"抱歉，我只是一个很小的演示模型，不会这个。{ABILITIES['zh']}",
}


def beyond(rng: Random, language: Language) -> Example:
    """Anything that is not one of the tasks."""
    english = language == "en"
    words = rng.sample(ENGLISH if english else CHINESE, 2)
    name = rng.choice(ENGLISH_NAMES if english else CHINESE_NAMES)
    city = rng.choice(ENGLISH_CITIES if english else CHINESE_CITIES)
    if rng.random() < 0.3:
        words = [invented(rng, language) for _ in words]
    sentence = invented_sentence(rng, language)
    prompt = rng.choice(PROMPTS[language]).format(w=words[0], v=words[1], n=name, c=city, s=sentence)
    return ask(prompt, SORRY[language], "This is none of my tasks." if english else "这不是我会的事。")
