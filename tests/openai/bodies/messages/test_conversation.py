"""System prompt and messages of Anthropic's API as chat messages; every fault is named by its path."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton_openai.bodies.messages.conversation import chat_messages, continues_last
from qwen_triton_openai.errors import ApiError

USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1]}}
OTHER_USE = {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def test_texts_and_blocks_are_the_same() -> None:
    """Marks of caches and citations are left out."""
    cached = {**text("hi"), "cache_control": {"type": "ephemeral"}, "citations": None}
    expected = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert chat_messages("Be brief.", [{"role": "user", "content": "hi"}]) == expected
    assert chat_messages([text("Be brief.")], [user(cached)]) == expected


@pytest.mark.parametrize("system", [None, "", [], [text("")]])
def test_an_empty_system_prompt_is_none(system: Any) -> None:
    assert chat_messages(system, [user(text("hi"))]) == [{"role": "user", "content": "hi"}]


def test_several_texts_are_lines() -> None:
    """Of the system, of a user, of an assistant, and of a result."""
    found = chat_messages(
        [text("a"), text("b")],
        [
            user(text("c"), text("d")),
            {"role": "assistant", "content": [text("e"), USE, text("f")]},
            user({"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("g"), text("h")]}),
        ],
    )
    assert [m["content"] for m in found] == ["a\nb", "c\nd", "e\nf", "g\nh"]


def test_an_assistant_s_blocks() -> None:
    """Thinking, with its signature left out, text and calls; what cannot be read is left out."""
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xyz"},
        text("Let me see."),
        {**USE, "cache_control": {"type": "ephemeral"}},
    ]
    assert chat_messages(None, [{"role": "assistant", "content": blocks}]) == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": {"a": [1]}}}],
        }
    ]


def test_results_are_messages_of_their_own_in_the_order_of_the_calls() -> None:
    """Qwen's templates show no ids, so a model goes by the order; what the user says beside them stays in its place."""
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "two"},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such file", "is_error": True},
        text("and?"),
        {"type": "tool_result", "tool_use_id": "toolu_9"},
    ]
    messages = [user(text("hi")), {"role": "assistant", "content": [USE, OTHER_USE]}, user(*results)]
    assert chat_messages(None, messages)[2:] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: no such file"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "two"},
        {"role": "user", "content": "and?"},
        {"role": "tool", "tool_call_id": "toolu_9", "content": ""},
    ]


def test_a_content_of_many_blocks_takes_time_in_proportion() -> None:
    """As many as a body can hold: texts put together one by one would be copied for hours."""
    [found] = chat_messages(None, [user(*[text("a" * 10)] * 200_000)])
    assert len(found["content"]) == 11 * 200_000 - 1


def test_a_system_message_among_the_others() -> None:
    """As newer clients send it."""
    assert chat_messages(None, [user(text("hi")), {"role": "system", "content": [text("Now in French.")]}]) == [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "Now in French."},
    ]


def test_an_assistant_s_text_at_the_end_is_continued() -> None:
    """A call there needs its result first."""
    assert continues_last([user(text("hi")), {"role": "assistant", "content": "The"}])
    assert continues_last([user(text("hi")), {"role": "assistant", "content": [text("The")]}])
    assert not continues_last([{"role": "assistant", "content": "hello"}, user(text("hi"))])
    with pytest.raises(ApiError, match=r"^messages\[1\]: a tool_use must be followed by a user's message") as caught:
        continues_last([user(text("hi")), {"role": "assistant", "content": [USE]}])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("system", "messages", "message"),
    [
        (7, [user(text("a"))], "system: must be a text or a list of content blocks, got 7"),
        ([{"type": "image"}], [user(text("a"))],
         "system[0].type: 'image' is not supported, these models read text alone; leave it out"),
        (None, ["hi"], "messages[0]: must be an object, got 'hi'"),
        (None, [{"role": "tool", "content": "x"}],
         "messages[0].role: must be one of user, assistant, system, got 'tool'"),
        (None, [{"role": "user"}], "messages[0].content: must be a text or a list of content blocks, got None"),
        (None, [user("x")], "messages[0].content[0]: must be an object, got 'x'"),
        (None, [user({"type": "text"})], "messages[0].content[0].text: must be a text, got None"),
        (None, [user({"type": "text", "text": {"a": 1}})], "messages[0].content[0].text: must be a text, got dict"),
        (None, [user(text("a"), {"type": "image", "source": {}})],
         "messages[0].content[1].type: 'image' is not supported, these models read text alone; leave it out"),
        (None, [user({"type": "document"})],
         "messages[0].content[0].type: 'document' is not supported, these models read text alone; send the document's "
         "text as a text block"),
        (None, [user(USE)], "messages[0].content[0].type: must be one of text, tool_result, got 'tool_use'"),
        (None, [user({"type": ["x"]})], "messages[0].content[0].type: must be one of text, tool_result, got list"),
        (None, [{"role": "assistant", "content": [{"type": "server_tool_use"}]}],
         "messages[0].content[0].type: must be one of text, thinking, redacted_thinking, tool_use, got 'server_tool_use'"),
        (None, [{"role": "assistant", "content": [{**USE, "input": "{}"}]}],
         "messages[0].content[0].input: must be an object, got '{}'"),
        (None, [{"role": "assistant", "content": [{**USE, "name": None}]}],
         "messages[0].content[0].name: must be a text, got None"),
        (None, [{"role": "assistant", "content": [{"type": "thinking"}]}],
         "messages[0].content[0].thinking: must be a text, got None"),
        (None, [user({"type": "tool_result", "content": "x"})],
         "messages[0].content[0].tool_use_id: must be a text, got None"),
        (None, [user({"type": "tool_result", "tool_use_id": "a", "is_error": "yes"})],
         "messages[0].content[0].is_error: must be true or false"),
        (None, [user({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]})],
         "messages[0].content[0].content[0].type: 'image' is not supported, these models read text alone; leave it out"),
    ],
)  # fmt: skip
def test_a_fault_is_named(system: Any, messages: list[Any], message: str) -> None:
    """By its path in what the client sent."""
    with pytest.raises(ApiError) as caught:
        chat_messages(system, messages)
    assert (caught.value.status, caught.value.message) == (400, message)
    assert message.startswith(f"{caught.value.param}: ")
