"""Token counts of one HTTP request, summed over its prompts and their sequences."""

from __future__ import annotations

from typing import Any

from qwen_triton.tensors.text_outputs import TextPiece


class UsageCount:
    """Sums the counts of pieces. A prompt has `n` sequences; its tokens count once."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._prompts: dict[int, tuple[int, int]] = {}
        self._completions: dict[int, int] = {}
        self._thinking: dict[int, int] = {}

    def add_prompt(self, piece: TextPiece) -> None:
        """Takes over the prompt's counts of a piece, if it has any."""
        if (usage := piece.usage) is not None:
            self._prompts[piece.sequence // self._n] = usage.prompt_tokens, usage.cached_tokens

    def add(self, piece: TextPiece) -> None:
        """Takes over the counts of a piece, if it has any: each replaces the sequence's former one."""
        if piece.usage is not None:
            self._completions[piece.sequence] = piece.usage.completion_tokens
            if piece.usage.reasoning_tokens is not None:
                self._thinking[piece.sequence] = piece.usage.reasoning_tokens
            self.add_prompt(piece)

    @property
    def prompt_tokens(self) -> int:
        return sum(tokens for tokens, _ in self._prompts.values())

    @property
    def cached_tokens(self) -> int:
        """Those of the prompt's that were found in a cache."""
        return sum(cached for _, cached in self._prompts.values())

    @property
    def completion_tokens(self) -> int:
        return sum(self._completions.values())

    @property
    def reasoning_tokens(self) -> int | None:
        """Those of the completion's that are thinking; None where the model does not count them."""
        return sum(self._thinking.values()) if self._thinking else None

    def as_json(self) -> dict[str, Any]:
        """The usage object of completions; tokens of thinking are in it where the model counts them."""
        prompt, completion, thinking = self.prompt_tokens, self.completion_tokens, self.reasoning_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            **({} if thinking is None else {"completion_tokens_details": {"reasoning_tokens": thinking}}),
        }
