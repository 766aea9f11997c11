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

    def as_json(self) -> dict[str, Any]:
        """OpenAI's usage object; tokens of thinking are in it where the model counts them."""
        prompt = sum(tokens for tokens, _ in self._prompts.values())
        completion = sum(self._completions.values())
        thinking = {"completion_tokens_details": {"reasoning_tokens": sum(self._thinking.values())}}
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": sum(cached for _, cached in self._prompts.values())},
            **(thinking if self._thinking else {}),
        }
