"""Log probs of a text completion in OpenAI's old format: parallel lists, one entry for each token."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any


class LegacyLogprobs:
    """Turns the tokens of one choice, as they come. A token's offset is the character of the text it begins in."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def take(self, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The lists for these tokens; offsets go on from those before."""
        offsets = []
        for token in content:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(bytes(token["bytes"])))
        return {
            "tokens": [token["token"] for token in content],
            "token_logprobs": [token["logprob"] for token in content],
            "top_logprobs": [_top(token) for token in content] if any(t["top_logprobs"] for t in content) else None,
            "text_offset": offsets,
        }


def _top(token: dict[str, Any]) -> dict[str, float]:
    """The likeliest tokens and the one that was taken, by their text; of equal texts the likelier."""
    found: dict[str, float] = {token["token"]: token["logprob"]}
    for other in token["top_logprobs"]:
        found[other["token"]] = max(other["logprob"], found.get(other["token"], float("-inf")))
    return found
