"""Marks of tokens: a private character for each added token, in grammars and in the vocabulary that an engine checks.

Without them a token such as <think> or <|fim_prefix|> would be text like any other, which may stand within a string.
"""

from __future__ import annotations

from collections.abc import Mapping

from .grammar import FIRST_MARK, MOST_MARKS


def token_marks(added_tokens: Mapping[int, str]) -> dict[str, str]:
    """The mark of each token that an answer's text may have, by its text. `added_tokens`: their texts by id.

    Those beyond the number of marks have none, and no grammar has them.
    """
    by_id = sorted(added_tokens.items())[:MOST_MARKS]
    return {text: chr(FIRST_MARK + index) for index, (_, text) in enumerate(by_id)}
