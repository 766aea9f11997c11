"""Token counts of one HTTP request, over its prompts and their sequences."""

from __future__ import annotations

from typing import Any

from qwen_triton.tensors.text_outputs import TextPiece


class UsageCount:
    """Adds up what pieces say; `n` sequences belong to each prompt, whose tokens count once."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._prompts: dict[int, tuple[int, int]] = {}
        self._completions: dict[int, int] = {}

    def take(self, piece: TextPiece) -> None:
        if (usage := piece.usage) is not None:
            self._completions[piece.sequence] = usage.completion_tokens
            self._prompts[piece.sequence // self._n] = usage.prompt_tokens, usage.cached_tokens

    def as_json(self) -> dict[str, Any]:
        prompt = sum(tokens for tokens, _ in self._prompts.values())
        completion = sum(self._completions.values())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": sum(cached for _, cached in self._prompts.values())},
        }
