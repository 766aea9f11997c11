"""The prompts of the workloads: lengths made into prompts, texts of a file, conversations that share a beginning.

With `as_ids` prompts are token ids, else text. `encode` counts tokens; without it lengths stay unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_triton.errors import ConfigurationError

from .dataset import Entry
from .lengths import Shape
from .prompt import Conversation, Prompt
from .prompt_text import PromptText
from .tokenizer import Encode

ANSWER_TOKENS = 128
"""Generated where neither the file nor the command says how many."""


def shaped(shapes: Sequence[Shape], text: PromptText, *, as_ids: bool) -> list[Conversation]:
    """Prompts of these shapes, each different from the others."""
    if as_ids:
        return [(Prompt(s.output_tokens, text.token_ids(s.input_tokens), input_tokens=s.input_tokens),) for s in shapes]
    texts = text.texts([s.input_tokens for s in shapes])
    return [(Prompt(s.output_tokens, text=t, input_tokens=s.input_tokens),) for s, t in zip(shapes, texts, strict=True)]


def fixed_prompt(text: str, output_tokens: int, encode: Encode | None, *, as_ids: bool) -> list[Conversation]:
    """One prompt; the load repeats it."""
    return entries_as_prompts([Entry(text, None)], output_tokens, encode, as_ids=as_ids)


def entries_as_prompts(
    entries: Sequence[Entry], output_tokens: int | None, encode: Encode | None, *, as_ids: bool
) -> list[Conversation]:
    """Prompts of a file; answers are as long as the file's own where `output_tokens` is None."""
    if encode is None:
        if as_ids:
            raise ConfigurationError("token ids of texts need a tokenizer: give --tokenizer-dir")
        return [(Prompt(output_tokens or ANSWER_TOKENS, text=e.prompt),) for e in entries]
    ids = encode([e.prompt for e in entries])
    answers = encode([e.answer or "" for e in entries]) if output_tokens is None else [[]] * len(entries)
    return [
        (_prompt(e.prompt, i, output_tokens or len(a) or ANSWER_TOKENS, as_ids=as_ids),)
        for e, i, a in zip(entries, ids, answers, strict=True)
    ]


def _prompt(text: str, ids: Sequence[int], output_tokens: int, *, as_ids: bool) -> Prompt:
    if as_ids:
        return Prompt(output_tokens, tuple(ids), input_tokens=len(ids))
    return Prompt(output_tokens, text=text, input_tokens=len(ids))


@dataclass(frozen=True)
class SharedPrefix:
    """`prefixes` system prompts of `prefix_tokens`; conversations of `turns` with `turn_tokens` new ones in each."""

    prefixes: int
    prefix_tokens: int
    turns: int
    turn_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigurationError(f"shared-prefix: {name.replace('_', ' ')} must be 1 or more, got {value}")


def conversations_with_prefix(
    form: SharedPrefix, count: int, text: PromptText, encode: Encode, *, as_ids: bool
) -> list[Conversation]:
    """`count` conversations. A turn's prompt is all that was said before it, with made-up answers of the right length."""
    prefixes = text.texts([form.prefix_tokens] * form.prefixes)
    per_turn = [form.turn_tokens, *[form.output_tokens + form.turn_tokens] * (form.turns - 1)]
    parts = text.texts(per_turn * count)
    conversations: list[Conversation] = []
    for n in range(count):
        said, turns = prefixes[n % form.prefixes], []
        for part in parts[n * form.turns : (n + 1) * form.turns]:
            said = f"{said} {part}"
            turns.append(said)
        ids = encode(turns)
        conversations.append(
            tuple(_prompt(t, i, form.output_tokens, as_ids=as_ids) for t, i in zip(turns, ids, strict=True))
        )
    return conversations
