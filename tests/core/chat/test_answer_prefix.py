"""The option `answer_prefix`: an answer is made to begin with something, as tool_choice needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.errors import InvalidRequest
from qwen_triton.text.tokenizer import Tokenizer

USER = [{"role": "user", "content": "hi <tool_call>"}]
CALL = '<tool_call>\n{"name": "f", "arguments": '


@pytest.fixture(scope="module")
def template(qwen3_folder: Path, qwen3: Tokenizer) -> ChatTemplate:
    """Qwen3's own."""
    return ChatTemplate.from_folder(qwen3_folder, qwen3)


def test_the_prompt_ends_with_it(template: ChatTemplate, qwen3: Tokenizer) -> None:
    """Behind the generation prompt, its control tokens as tokens."""
    plain = template.render(USER)
    assert template.render(USER, (), {"answer_prefix": CALL}) == plain + CALL
    ids = template.encode(USER, (), {"answer_prefix": CALL})
    assert ids == template.encode(USER) + qwen3.encode(CALL, control_tokens=True)


def test_it_follows_the_empty_thinking_of_a_prompt_without(template: ChatTemplate) -> None:
    """enable_thinking false writes a closed block."""
    text = template.render(USER, (), {"answer_prefix": CALL, "enable_thinking": False})
    assert text.endswith(f"<think>\n\n</think>\n\n{CALL}")


def test_a_block_that_the_template_opened_is_closed(qwen3: Tokenizer) -> None:
    """A call within thinking would be none."""
    opening = "{{ messages[0].content }}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    template = ChatTemplate(qwen3, {"default": opening}, {})
    assert template.render(USER, (), {"answer_prefix": "x"}).endswith("<think>\n\n</think>\n\nx")
    assert template.render(USER).endswith("<think>\n")


def test_it_is_a_text(template: ChatTemplate) -> None:
    """Anything else is refused by name."""
    with pytest.raises(InvalidRequest) as caught:
        template.render(USER, (), {"answer_prefix": 3})
    assert caught.value.field == "chat_template_kwargs.answer_prefix"
