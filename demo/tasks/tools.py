"""Call one of the given tools; make a sentence of what the tool answers."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

from ..example import Example, Language, Message, Tool, called
from ..toolbox import (
    CALCULATOR,
    KINDS,
    TIME,
    WEATHER,
    Kind,
    Names,
    Offer,
    calculation,
    made_up,
    offer,
    plain_result,
    result_of,
    values_for,
)

NO_TOOL: dict[Language, str] = {"en": "I have no tool for that.", "zh": "我没有合适的工具。"}
HANDED_ON: dict[Language, str] = {"en": "The tool says: {}", "zh": "工具返回：{}"}


def call_tool(rng: Random, language: Language) -> Example:
    """A question for one of one to four tools, at times for two calls at once; or for none of them, or without any."""
    kind = _kind(rng)
    prompt, values, _ = _calculated(rng, language) if kind is CALCULATOR else _questioned(rng, language, kind)
    if kind in KINDS and kind is not CALCULATOR and rng.random() < 0.15:
        return _without_tool(rng, language, prompt, kind)
    return _asked(rng, language, prompt, offer(rng, kind), values)


def use_answer(rng: Random, language: Language) -> Example:
    """The turn after the call: the tool's fields in a sentence, or what it says as it stands."""
    kind = _kind(rng)
    prompt, values, value = _calculated(rng, language) if kind is CALCULATOR else _questioned(rng, language, kind)
    asked = _asked(rng, language, prompt, offer(rng, kind), values)
    results = [_result(rng, language, kind, given, value) for given in values]
    call = called(asked.calls)
    if rng.random() < 0.3:
        call["reasoning_content"] = asked.thought
    answers: list[Message] = [{"role": "tool", "content": result} for result, _ in results]
    content = (" " if language == "en" else "").join(sentence for _, sentence in results)
    thought = "The tool has answered." if language == "en" else "工具已经回答。"
    return Example([*asked.messages, call, *answers], content, thought, tools=asked.tools)


def with_tools(rng: Random, example: Example) -> Example:
    """A question that needs no tool, asked where tools are offered. A calculator is not: it would be used for sums."""
    kinds = rng.sample([kind for kind in KINDS if kind is not CALCULATOR], rng.randint(1, 3))
    return replace(example, tools=[offer(rng, kind).schema for kind in kinds])


def _kind(rng: Random) -> Kind:
    """Weather, time and sums are asked for most; a tool nobody has seen makes sure that names are read."""
    pick = rng.random()
    if pick < 0.5:
        return rng.choice((WEATHER, TIME, CALCULATOR))
    return made_up(rng) if pick < 0.75 else rng.choice(KINDS[3:])


def _calculated(rng: Random, language: Language) -> tuple[str, list[Names], int]:
    prompt, expression, value = calculation(rng, language)
    return prompt, [(expression,)], value


def _questioned(rng: Random, language: Language, kind: Kind) -> tuple[str, list[Names], int]:
    """A prompt with the values of the one or two calls it asks for; the 0 is the result of no calculation."""
    values = [values_for(rng, kind, language)]
    prompts = kind.prompts[language]
    if kind not in (WEATHER, TIME) or rng.random() < 0.8:
        return rng.choice(prompts).format(*values[0]), values, 0
    values.append(values_for(rng, kind, language))
    both = (" and " if language == "en" else "和").join(value[0] for value in values)
    return rng.choice(prompts).format(both), values, 0


def _asked(rng: Random, language: Language, prompt: str, chosen: Offer, values: list[Names]) -> Example:
    calls = [chosen.call(given) for given in values]
    thought = f"I call {chosen.name}." if language == "en" else f"我调用 {chosen.name}。"
    tools = [chosen.schema, *_others(rng, chosen.kind, rng.choice((0, 0, 1, 1, 2, 3)))]
    rng.shuffle(tools)
    return Example([_user(prompt)], "", thought, calls, tools)


def _without_tool(rng: Random, language: Language, prompt: str, kind: Kind) -> Example:
    thought = "None of the tools fits." if language == "en" else "没有合适的工具。"
    return Example([_user(prompt)], NO_TOOL[language], thought, tools=_others(rng, kind, rng.randint(0, 3)))


def _others(rng: Random, kind: Kind, count: int) -> list[Tool]:
    """Tools of other kinds, some of them made up."""
    kinds = rng.sample([other for other in KINDS if other is not kind], count)
    return [offer(rng, other if rng.random() < 0.7 else made_up(rng)).schema for other in kinds]


def _result(rng: Random, language: Language, kind: Kind, values: Names, value: int) -> tuple[str, str]:
    """A tool's answer and the sentence that is made of it."""
    if kind.report is None or rng.random() < 0.3:
        text = plain_result(rng, language)
        return text, HANDED_ON[language].format(text)
    result = result_of(rng, kind, language, value)
    sentence = kind.report[language].format(*values, **result)
    if rng.random() < 0.3:  # some tools repeat what they were asked
        result = {rng.choice(kind.parameters[0]): values[0], **result}
    return json.dumps(result, ensure_ascii=False), sentence


def _user(prompt: str) -> Message:
    return {"role": "user", "content": prompt}
