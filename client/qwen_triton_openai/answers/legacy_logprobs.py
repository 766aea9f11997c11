"""Log probs of text completions: of an answer and its echoed prompt in OpenAI's older format, of a prompt in vLLM's."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Token = Mapping[str, Any]
"""A token in the form of the chat endpoint's `logprobs.content`; one of a prompt has its `id` too, and null as the first
one's `logprob`."""


class PromptLogprobsForm(NamedTuple):
    """How the log probs of a prompt are shown. `echoed`: before those of the answer, with so many of the likeliest tokens;
    `apart`: as `prompt_logprobs`, with so many of them. None: not there."""

    echoed: int | None = None
    apart: int | None = None

    def before(self, prompt: Sequence[Token] | None) -> list[Token]:
        """The tokens of a prompt that stand before those of the answer."""
        if self.echoed is None or prompt is None:
            return []
        return [{**token, "top_logprobs": token["top_logprobs"][: self.echoed]} for token in prompt]

    def own(self, prompt: Sequence[Token] | None) -> dict[str, Any]:
        """The field `prompt_logprobs`, if there is to be one."""
        if self.apart is None or prompt is None:
            return {}
        return {"prompt_logprobs": [_by_id(token, self.apart) for token in prompt]}


NO_PROMPT = PromptLogprobsForm()


class LegacyLogprobs:
    """Log probs of one choice in the form of OpenAI's older endpoint: parallel lists.

    A token's offset counts characters of the text before it; a token within a character has that character's offset.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def convert(self, content: Sequence[Token]) -> dict[str, Any]:
        """The lists of these tokens. `content`: tokens in the chat endpoint's form; offsets continue from earlier calls."""
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


def _top(token: Token) -> dict[str, float] | None:
    """Log prob by text of the most likely tokens and of the sampled one; of tokens with one text, the greater.

    None for the first token of a prompt, which nothing precedes.
    """
    if token["logprob"] is None:
        return None
    by_text: dict[str, float] = {token["token"]: token["logprob"]}
    for other in token["top_logprobs"]:
        by_text[other["token"]] = max(other["logprob"], by_text.get(other["token"], float("-inf")))
    return by_text


def _by_id(token: Token, tops: int) -> dict[str, dict[str, Any]] | None:
    """A token of a prompt and the likeliest at its place, by id; the rank of a token that is not among these is unknown."""
    if token["logprob"] is None:
        return None
    ranked = {str(top["id"]): _entry(top, rank) for rank, top in enumerate(token["top_logprobs"], 1)}
    kept = dict(list(ranked.items())[:tops])
    own = str(token["id"])
    return {own: ranked.get(own) or _entry(token, None), **kept}


def _entry(token: Token, rank: int | None) -> dict[str, Any]:
    return {"logprob": token["logprob"], "rank": rank, "decoded_token": token["token"]}
