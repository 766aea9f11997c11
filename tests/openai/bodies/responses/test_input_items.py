"""Input items as chat messages."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.chat.messages import check_messages
from qwen_triton_openai.bodies.responses.input_items import to_messages
from qwen_triton_openai.errors import ApiError

CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
    "status": "completed",
}
CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
THINKING = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Well."}]}
SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary",
    "content": [{"type": "output_text", "text": "See:", "annotations": [], "logprobs": []}],
}  # fmt: skip
USER = {"role": "user", "content": "hi"}


def test_a_text_is_a_user_s_message() -> None:
    """With instructions before it."""
    assert to_messages(None, "hi") == [USER]
    assert to_messages("Be brief.", "hi") == [{"role": "system", "content": "Be brief."}, USER]


def test_messages_with_and_without_a_type() -> None:
    """Roles and content parts."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    found = to_messages(None, [USER, {"type": "message", "role": "developer", "content": parts}])
    assert found == [USER, {"role": "developer", "content": "a\nb"}]


def test_what_an_answer_had_is_one_message_again() -> None:
    """Thinking, text, calls, and text behind calls; then the results."""
    items = [USER, THINKING, SAID, CALL, CALL | {"call_id": "call_2"}, SAID, OUTPUT, OUTPUT | {"call_id": "call_2"}]
    assert to_messages(None, items) == [
        USER,
        {
            "role": "assistant", "reasoning_content": "Well.", "content": "See:See:",
            "tool_calls": [CHAT_CALL, CHAT_CALL | {"id": "call_2"}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": "sunny"},
    ]  # fmt: skip


def test_two_answers_are_two_messages() -> None:
    """Also with nothing between them: one has no second message in a row, and thinking comes first."""
    assert [m["content"] for m in to_messages(None, [SAID, SAID])] == ["See:", "See:"]
    again = to_messages(None, [THINKING, CALL, OUTPUT, THINKING, CALL, THINKING, SAID])
    assert [m["role"] for m in again] == ["assistant", "tool", "assistant", "assistant"]
    assert again[2] == {"role": "assistant", "content": "", "reasoning_content": "Well.", "tool_calls": [CHAT_CALL]}


def test_thinking_without_its_text_is_left_out() -> None:
    """Another server's, encrypted."""
    other = {
        "type": "reasoning",
        "id": "rs_2",
        "summary": [{"type": "summary_text", "text": "s"}],
        "encrypted_content": "x",
    }
    assert to_messages(None, [other, SAID]) == [{"role": "assistant", "content": "See:"}]


def test_a_call_of_a_namespace_has_the_name_that_the_model_gave() -> None:
    """Chat templates have no namespaces."""
    [message] = to_messages(None, [CALL | {"namespace": "agents"}])
    assert message["tool_calls"][0]["function"]["name"] == "agents__f"


def test_an_output_may_have_parts() -> None:
    """Of text."""
    [message] = to_messages(None, [OUTPUT | {"output": [{"type": "input_text", "text": "rain"}]}])
    assert message["content"] == "rain"


def test_a_chat_takes_the_messages() -> None:
    """Those of all kinds pass the core's checks."""
    messages = to_messages("s", [USER, THINKING, SAID, CALL, OUTPUT])
    assert [m["role"] for m in check_messages(messages)] == ["system", "user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"type": "item_reference", "id": "msg_1"}, r"^input\[0\].type: item_reference names an item that is stored, and no"),
        ({"type": "web_search_call", "id": "x"}, r"^input\[0\].type: must be one of message, .*got 'web_search_call'$"),
        ({"type": ["x"]}, r"^input\[0\].type: must be one of"),
        ({}, r"^input\[0\].type: must be one of .*, got None$"),
        ({"role": "tool", "content": "x"}, r"^input\[0\].role: must be one of user, assistant, system, developer, got 'tool'$"),
        ({"role": "user"}, r"^input\[0\].content: must be a text or a list of text parts, got None$"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "x" * 99}]},
         r"^input\[0\].content\[0\].type: must be input_text or output_text, .* got 'input_image'$"),
        ({"role": "user", "content": ["x"]}, r"^input\[0\].content\[0\]: must be an object, got 'x'$"),
        ({"role": "user", "content": [{"type": "input_text"}]}, r"^input\[0\].content\[0\].text: must be a text, got None$"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, r"^input\[0\].arguments: must be a text"),
        ({"type": "function_call", "name": "f", "arguments": ""}, r"^input\[0\].call_id: must be a text, got None$"),
        ({"type": "function_call_output", "call_id": "c"}, r"^input\[0\].output: must be a text or a list"),
    ],
)  # fmt: skip
def test_a_fault_names_its_item(item: dict[str, Any], message: str) -> None:
    """With the place, and what is expected there."""
    with pytest.raises(ApiError, match=message) as caught:
        to_messages(None, [item])
    assert (caught.value.status, str(caught.value.param).split(".")[0].split(":")[0]) == (400, "input[0]")


def test_a_long_history_takes_time_in_proportion() -> None:
    """A hundred thousand items of one turn: one message, its texts joined once."""
    [message] = to_messages(None, [SAID, CALL] * 50_000)
    assert (len(message["content"]), len(message["tool_calls"])) == (4 * 50_000, 50_000)
