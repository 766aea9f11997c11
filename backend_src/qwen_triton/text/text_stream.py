"""Turns one sequence's tokens into text: `feed(TokenChunk) -> TextChunk | None`, until it is `done`.

    stream = TextStream(tokenizer, stop, end_ids=tokenizer.end_ids, prompt_tokens=7)
    for chunk in chunks:
        if piece := stream.feed(chunk):
            send(piece)
        if stream.done:        # a stop string may come before the engine's own end: then cancel the sequence
            break

The grouping of tokens into chunks changes where the text is cut, never the text, its end, its tokens or the usage.
Knows no engines, requests or Triton.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NoReturn

from ..errors import InvalidRequest
from ..types import FinishReason, StopConditions, TextChunk, TokenChunk, Usage
from .detokenizer import Detokenizer
from .stop_scanner import StopScanner
from .thinking_tokens import ThinkingTokens
from .tokenizer import Tokenizer
from .unsent_tokens import Tokens, UnsentTokens

NO_STOP = StopConditions()


def resolve_stops(stop: StopConditions, tokenizer: Tokenizer, field: str) -> StopConditions:
    """`stop` with the ids of the stop strings that are control tokens, such as <|im_end|>: those have no text.

    Such a string is still looked for in the text, where a model may spell it with ordinary tokens. Raises InvalidRequest,
    with `field`, for a string with a control token and other text, which could never be found.
    """
    ids = []
    for string in stop.strings:
        token_id = tokenizer.special_tokens.get(string)
        if token_id is not None:
            ids.append(token_id)
        elif found := tokenizer.special_pattern.search(string):
            refuse_control_token(found[0], field)
    return replace(stop, token_ids=tuple(dict.fromkeys((*stop.token_ids, *ids)))) if ids else stop


def refuse_control_token(token: str, field: str) -> NoReturn:
    """Raises InvalidRequest for a stop string with a control token inside."""
    raise InvalidRequest(
        f"has {token} beside other text: a control token has no text, so the string would never be found; "
        f"give {token} alone",
        field,
    )


class TextStream:
    """Detokenizes one sequence, ends it at the first stop string, stop id or end id, and counts its tokens.

    `end_ids` end the answer although the client did not name them (none with ignore_eos); that corrects an engine that
    knows only one of them. Stop strings count only from the `min_tokens`th token on, and so do end and stop ids that an
    engine returns as ordinary tokens. With `stop.include_in_output` a stop string stays in the text, and so does the
    text of a stop id, unless it is a control token that is left out anyway. With `accumulate` each chunk has the whole
    text so far, but only the new token ids and log probs. A token is returned with the first of its text; tokens wholly
    behind a stop string are not returned. `ends` is called with the text of each token in turn and says whether the answer
    is over with it.
    """

    __slots__ = (
        "_accumulate", "_cum_log_prob", "_detokenizer", "_end_ids", "_ends", "_keep", "_min_tokens", "_plain", "_scanner",
        "_sequence", "_stop_ids", "_text", "_thinking", "_unsent", "_watched",
        "cached_tokens", "completion_tokens", "done", "prompt_tokens",
    )  # fmt: skip

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: StopConditions = NO_STOP,
        *,
        end_ids: Collection[int] = (),
        min_tokens: int = 0,
        skip_special_tokens: bool = True,
        accumulate: bool = False,
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
        sequence: int = 0,
        ends: Callable[[str], bool] | None = None,
        thinking: ThinkingTokens | None = None,
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, skip_special_tokens)
        self._keep = stop.include_in_output
        self._scanner = StopScanner(stop.strings, self._keep) if stop.strings else None
        self._stop_ids = frozenset(stop.token_ids)
        self._end_ids = self._stop_ids | frozenset(end_ids)
        self._thinking = thinking
        self._watched = self._end_ids if thinking is None else self._end_ids | thinking.watched
        self._min_tokens = min_tokens
        self._accumulate = accumulate
        self._ends = ends
        self._plain = self._scanner is None and ends is None and not accumulate
        self._sequence = sequence
        self._unsent = UnsentTokens()
        self._text = ""
        self._cum_log_prob: float | None = None
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = cached_tokens
        self.completion_tokens = 0
        self.done = False

    @property
    def usage(self) -> Usage:
        """Token counts so far. Tokens that an engine generated behind a stop string are not counted."""
        thinking = None if self._thinking is None else self._thinking.count(self.completion_tokens)
        return Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens, thinking)

    def feed(self, chunk: TokenChunk) -> TextChunk | None:
        """The text that is final now, None if there is none; the last chunk, even without text, where `chunk` ends it."""
        token_ids = chunk.token_ids
        if (
            self._plain
            and chunk.finish is None
            and not (self.done or self._unsent or chunk.log_probs or chunk.cached_tokens)
            and self._watched.isdisjoint(token_ids)
        ):  # the usual case, on the path of every token: kept short
            self.completion_tokens += len(token_ids)
            text = self._detokenizer.feed(token_ids)
            if text:
                return TextChunk(text, token_ids, (), (), None, None, None, self._sequence)
            self._unsent.add(Tokens(token_ids), [0] * len(token_ids))
            return None
        return None if self.done else self._advance(chunk)

    def _advance(self, chunk: TokenChunk) -> TextChunk | None:
        if chunk.cached_tokens:
            self.cached_tokens = chunk.cached_tokens
        tokens = Tokens(chunk.token_ids, chunk.log_probs, chunk.top_log_probs)
        finish, stop_token = chunk.finish, chunk.stop_token
        if (end := self._end_index(chunk.token_ids)) is not None:
            tokens, finish, stop_token = tokens.first(end), "stop", chunk.token_ids[end]
        pieces = self._detokenize(tokens.token_ids)
        cum_log_prob = chunk.cum_log_prob
        if self._ends is not None and (over := self._over_after(pieces)) is not None:
            tokens, pieces, finish, stop_token, cum_log_prob = tokens.first(over), pieces[:over], "stop", None, None
        text, matched, starts = self._read(pieces, len(tokens.token_ids))
        if matched is not None:
            tokens = tokens.first(len(starts))
        if self._thinking is not None:
            self._thinking.feed(tokens.token_ids, self.completion_tokens)
        self.completion_tokens += len(starts)
        if tokens.log_probs:
            self._cum_log_prob = (self._cum_log_prob or 0.0) + sum(tokens.log_probs)
        if matched is None and finish is None:
            return self._piece(text, tokens, starts)
        self._unsent.add(tokens, starts)
        return self._last(text, matched, finish, stop_token, cum_log_prob)

    def _end_index(self, token_ids: Sequence[int]) -> int | None:
        """The index of the first end or stop id that counts."""
        if self._end_ids.isdisjoint(token_ids):
            return None
        first = max(0, self._min_tokens - self.completion_tokens)
        return next((i for i in range(first, len(token_ids)) if token_ids[i] in self._end_ids), None)

    def _detokenize(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token, or of all together where nothing has to look at each."""
        detokenize = self._detokenizer.feed
        if self._scanner is None and self._ends is None:
            return [detokenize(token_ids)]
        return [detokenize((token_id,)) for token_id in token_ids]

    def _over_after(self, pieces: Sequence[str]) -> int | None:
        """The number of tokens after which `ends` says that the answer is over, where that counts."""
        assert self._ends is not None
        for count, piece in enumerate(pieces, start=1):
            if self._ends(piece) and self.completion_tokens + count >= self._min_tokens:
                return count
        return None

    def _read(self, pieces: list[str], tokens: int) -> tuple[str, str | None, list[int]]:
        """The final text, the stop string that ended it, and where in the text each token up to that one begins."""
        scanner = self._scanner
        if scanner is None:
            return "".join(pieces), None, [0] * tokens
        starts = list(accumulate(map(len, pieces), initial=scanner.position))
        too_early = self._min_tokens - 1 - self.completion_tokens
        early = ""
        if too_early > 0:
            early, _ = scanner.feed("".join(pieces[:too_early]), armed=False)
            pieces = pieces[too_early:]
        text, matched = scanner.feed("".join(pieces))
        last = tokens if matched is None else bisect_left(starts, scanner.position)
        del starts[last:]
        return early + text, matched, starts

    def _piece(self, text: str, tokens: Tokens, starts: list[int]) -> TextChunk | None:
        """Without stop strings all tokens begin at 0, so any text releases all of them."""
        if not text:
            self._unsent.add(tokens, starts)
            return None
        before = self._scanner.released if self._scanner is not None else 1
        ids, log_probs, top_log_probs = self._unsent.through(tokens, starts, before)
        return TextChunk(self._shown(text), ids, log_probs, top_log_probs, None, None, None, self._sequence)

    def _last(
        self, text: str, matched: str | None, finish: FinishReason | None, stop_token: int | None, cum: float | None
    ) -> TextChunk:
        self.done = True
        if matched is None:
            rest, matched = self._read_end(stop_token)
            text += rest
        if matched is not None and self._scanner is not None:
            tokens, cum = self._unsent.release(self._scanner.released), self._cum_log_prob
            return TextChunk(self._shown(text), *tokens, "stop", matched, self.usage, self._sequence, cum)
        reason = stop_token if stop_token in self._stop_ids else None
        tokens, cum = self._unsent.release_all(), self._cum_log_prob if cum is None else cum
        return TextChunk(self._shown(text), *tokens, finish, reason, self.usage, self._sequence, cum)

    def _read_end(self, stop_token: int | None) -> tuple[str, str | None]:
        """The text that was held back when the tokens ended, and a stop string that it completes.

        After an end or stop id no stop string counts: that id has ended the answer.
        """
        ended_by = (stop_token,) if stop_token is not None else ()
        self.completion_tokens += len(ended_by)
        shown = self._keep and stop_token in self._stop_ids
        text = (self._detokenizer.feed(ended_by) if shown else "") + self._detokenizer.flush()
        if self._scanner is None:
            return text, None
        text, matched = self._scanner.feed(text, armed=stop_token is None)
        return text + self._scanner.flush(), matched

    def _shown(self, text: str) -> str:
        if not self._accumulate:
            return text
        self._text += text
        return self._text
