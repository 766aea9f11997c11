"""Prompts of the workloads: of drawn lengths, of a file, and of conversations that share a prefix.

`as_ids`: prompts are token ids, else text. `encode` counts tokens; without it the counts are None.
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
"""Answer length where neither the file nor the command sets one."""
_TOKENS_PER_WORD = 1.3
"""Stock's --op-tokens-per-word where the command does not set it."""


def shaped(shapes: Sequence[Shape], text: PromptText, *, as_ids: bool) -> list[Conversation]:
    """A prompt of each shape, with random text."""
    if as_ids:
        return [(Prompt(s.output_tokens, text.token_ids(s.input_tokens), input_tokens=s.input_tokens),) for s in shapes]
    texts = text.texts([s.input_tokens for s in shapes])
    return [(Prompt(s.output_tokens, text=t, input_tokens=s.input_tokens),) for s, t in zip(shapes, texts, strict=True)]


def fixed_prompt(text: str, output_tokens: int, encode: Encode | None, *, as_ids: bool) -> list[Conversation]:
    """One prompt, which the load repeats."""
    return entries_as_prompts([Entry(text, None)], output_tokens, encode, as_ids=as_ids)


def entries_as_prompts(
    entries: Sequence[Entry],
    output_tokens: int | None,
    encode: Encode | None,
    *,
    as_ids: bool,
    tokens_per_word: float | None = None,
) -> list[Conversation]:
    """Prompts of a file. `output_tokens` None: answers are as long as those of the file.

    Their tokens are counted; with `tokens_per_word`, and in a file of stock's form, their words are multiplied instead.
    Raises ConfigurationError for token ids without a tokenizer.
    """
    if encode is None:
        if as_ids:
            raise ConfigurationError("token ids of texts need a tokenizer: give --tokenizer-dir")
        lengths = [output_tokens or _by_words(e, tokens_per_word) or ANSWER_TOKENS for e in entries]
        return [(Prompt(length, text=e.prompt),) for e, length in zip(entries, lengths, strict=True)]
    ids = encode([e.prompt for e in entries])
    answers = encode([e.answer or "" for e in entries]) if output_tokens is None else [[]] * len(entries)
    lengths = [
        output_tokens or _by_words(e, tokens_per_word) or len(a) or ANSWER_TOKENS
        for e, a in zip(entries, answers, strict=True)
    ]
    return [(_prompt(e.prompt, i, length, as_ids=as_ids),) for e, i, length in zip(entries, ids, lengths, strict=True)]


def _by_words(entry: Entry, tokens_per_word: float | None) -> int:
    """Tokens of an answer as stock's benchmark estimates them, at least 1; 0 where they are to be counted."""
    ratio = tokens_per_word or (_TOKENS_PER_WORD if entry.of_stock else None)
    return 0 if ratio is None or entry.answer is None else max(1, int(len(entry.answer.split(" ")) * ratio))


def _prompt(text: str, ids: Sequence[int], output_tokens: int, *, as_ids: bool) -> Prompt:
    if as_ids:
        return Prompt(output_tokens, tuple(ids), input_tokens=len(ids))
    return Prompt(output_tokens, text=text, input_tokens=len(ids))


@dataclass(frozen=True)
class SharedPrefix:
    """`prefixes` system prompts of `prefix_tokens` tokens; conversations of `turns`, each with `turn_tokens` new tokens."""

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
    """`count` conversations. A turn's prompt contains the former turns, with invented answers of the right length."""
    prefixes = text.texts([form.prefix_tokens] * form.prefixes)
    per_turn = [form.turn_tokens, *[form.output_tokens + form.turn_tokens] * (form.turns - 1)]
    parts = text.texts(per_turn * count)
    conversations: list[Conversation] = []
    for n in range(count):
        history, turns = prefixes[n % form.prefixes], []
        for part in parts[n * form.turns : (n + 1) * form.turns]:
            history = f"{history} {part}"
            turns.append(history)
        ids = encode(turns)
        conversations.append(
            tuple(_prompt(t, i, form.output_tokens, as_ids=as_ids) for t, i in zip(turns, ids, strict=True))
        )
    return conversations
