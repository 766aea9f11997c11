"""The demo's conversations: seeded, right, and never with a prompt that is kept for the examination."""

from __future__ import annotations

import json
from itertools import islice
from random import Random

import pytest

from demo.example import BLOG_PROMPT, Example, called
from demo.make_data import EXAMINED, LANGUAGES, TASKS, Dialogue, conversations, questions
from demo.tasks.numbers import chinese_number

NUMBERS = {
    0: "零", 7: "七", 10: "十", 14: "十四", 20: "二十", 105: "一百零五", 110: "一百一十", 1000: "一千", 1001: "一千零一",
    1010: "一千零一十", 1100: "一千一百", 2024: "二千零二十四", 9999: "九千九百九十九",
}  # fmt: skip


def learnt(count: int, seed: int = 3) -> list[Dialogue]:
    return list(islice(conversations(seed), count))


def test_same_seed_same_conversations() -> None:
    assert learnt(200) == learnt(200)
    assert learnt(200) != learnt(200, seed=4)


def test_no_learnt_conversation_ends_with_a_held_out_prompt() -> None:
    """Nor does an earlier turn of one: their prompts were drawn in the same way."""
    kept = {
        tuple(message["content"] for message in question.example.messages)
        for task in TASKS
        for language in LANGUAGES
        for question in islice(questions(task, language, 1), 20)
    }
    prompts = [tuple(message["content"] for message in c.example.messages) for c in learnt(4000)]
    ends = {prompt[-length:] for prompt in prompts for length in (1, 3, 4) if len(prompt) >= length}
    assert len(kept) > 400
    assert not kept & ends


def test_held_out_prompts_are_held_out_and_differ_by_seed() -> None:
    first = [question.example for question in islice(questions("add", "en", 1), 50)]
    assert all(example.held_out for example in first)
    assert first != [question.example for question in islice(questions("add", "en", 2), 50)]


def test_the_blogs_prompt_is_learnt() -> None:
    found = [c.example for c in learnt(8000) if c.example.messages[-1]["content"] == BLOG_PROMPT]
    assert found
    assert {example.answer for example in found} == {"你好！我叫小试，是 qwen-triton 的演示模型。"}


def test_every_task_is_learnt_in_both_languages_with_and_without_thinking() -> None:
    seen = {(c.task, c.thinking) for c in learnt(2000)}
    assert seen == {(task, thinking) for task in TASKS for thinking in (False, True)}


@pytest.mark.parametrize("number", NUMBERS)
def test_chinese_numbers(number: int) -> None:
    assert chinese_number(number) == NUMBERS[number]


@pytest.mark.parametrize("task", ["add", "sort", "reverse", "count_words", "json_form", "continue_list"])
def test_answers_are_right(task: str) -> None:
    """Recomputed from the prompt in another way."""
    for question in islice(questions(task, "en", 5), 100):
        prompt, answer = question.example.messages[0]["content"], question.example.answer
        if task == "add":
            left, _, total = answer.partition(" = ")
            assert sum(map(int, left.split(" + "))) == int(total)
        elif task == "sort":
            numbers = [int(word) for word in answer.split(", ")]
            assert numbers == sorted(
                numbers, reverse="large to small" in prompt or "descend" in prompt or "downwards" in prompt
            )
            assert all(str(number) in prompt for number in numbers)
        elif task == "reverse":
            separator = ", " if ", " in answer else " "
            assert prompt.endswith(separator.join(reversed(answer.split(separator))))
        elif task == "count_words":
            assert int(answer.split()[2]) == len(prompt.rpartition("\n")[2].rpartition(": ")[2].split())
        elif task == "json_form":
            assert json.dumps(json.loads(answer), ensure_ascii=False) == answer
        elif "1. " in prompt:
            assert [int(line.split(". ")[0]) for line in answer.splitlines()][-1] == int(
                prompt.split(":")[0].split()[-1]
            )


def test_calls_name_a_tool_that_is_offered_and_all_its_parameters() -> None:
    called_tools = [q.example for q in islice(questions("call_tool", "zh", 1), 200) if q.example.calls]
    assert len(called_tools) > 150
    for example in called_tools:
        offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools}
        for call in example.calls:
            parameters = offered[call["name"]]
            assert set(call["arguments"]) == set(parameters.get("required", set(parameters["properties"]) - {"unit"}))


def test_an_answer_with_a_call_as_qwen_writes_it() -> None:
    call = {"name": "get_weather", "arguments": {"city": "北京"}}
    example = Example([{"role": "user", "content": "北京天气"}], thought="我调用 get_weather。", calls=[call])
    written = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
    assert example.text(thinking=False) == written
    assert example.text(thinking=True) == f"<think>\n我调用 get_weather。\n</think>\n\n{written}"
    assert example.history[-1] == called([call])


def test_every_examined_task_makes_questions() -> None:
    assert set(EXAMINED) == set(TASKS) - {"strange_words"} | {"think"}
    for task in EXAMINED:
        [question] = islice(questions(task, "zh", 1), 1)
        assert question.thinking == (task == "think")
        assert question.example.text(question.thinking)


def test_words_are_drawn_by_the_given_generator_alone() -> None:
    for name, (task, _) in TASKS.items():
        assert task(Random(name), "zh") == task(Random(name), "zh")
