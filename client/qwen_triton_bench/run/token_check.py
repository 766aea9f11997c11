"""Compares the server's token counts with the tokenizer's."""

from __future__ import annotations

from ..prompts.tokenizer import Encode
from .samples import Run, Sample


def check_counts(run: Run, encode: Encode | None) -> list[str]:
    """One line for each comparison. Answers in text are encoded again, which may give other tokens."""
    answered = [s for s in run.samples if s.answered]
    lines = [*_inputs(answered), *_ids(answered)]
    texts = [s for s in answered if s.text and s.output_tokens]
    if encode is not None and texts:
        ids = encode([b"".join(s.text).decode("utf-8", "replace") for s in texts])
        counted, encoded = sum(s.output_tokens or 0 for s in texts), sum(map(len, ids))
        lines.append(f"output tokens of {len(texts)} answers: server {counted}, their text encoded anew {encoded}")
    return lines


def _inputs(answered: list[Sample]) -> list[str]:
    compared = [s for s in answered if s.input_tokens is not None and s.expected_input is not None]
    if not compared:
        return ["input tokens: the server gave no counts, or there was no tokenizer to compare with"]
    wrong = [s for s in compared if s.input_tokens != s.expected_input]
    if wrong:
        s = wrong[0]
        return [
            f"input tokens: {len(wrong)} of {len(compared)} counts differ from the tokenizer's, "
            f"as {s.input_tokens} for {s.expected_input}"
        ]
    return [f"input tokens: all {len(compared)} counts are the tokenizer's"]


def _ids(answered: list[Sample]) -> list[str]:
    with_ids = [s for s in answered if s.output_tokens is not None and s.ids]
    if not with_ids:
        return []
    wrong = sum(s.ids != s.output_tokens for s in with_ids)
    return [f"output tokens: {len(with_ids) - wrong} of {len(with_ids)} counts equal the ids that came"]
