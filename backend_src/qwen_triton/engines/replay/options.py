"""Options of the replay engine: what its answers are, how fast they come, and the faults that a test asks for.

Knows no engine: the deployment's schema is made from this too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..option import OptionError, check_options, option


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Times are in milliseconds; lengths and counts in tokens."""

    mode: Literal["echo", "random", "scripts"] = option(
        "echo",
        "what an answer is: the prompt's own ids, ids drawn from a seed and the prompt, or the lists of `scripts` in turn",
    )
    scripts: tuple[tuple[int, ...], ...] = option((), "mode scripts: the answers", phrase="lists of token ids")
    slots: int = option(1024, "sequences generated at once; others wait", at_least=1)
    step_ms: float = option(0.0, "time of a step; 0 = as fast as it goes", at_least=0)
    prefill_ms_per_token: float = option(0.0, "time for each token of a prompt", at_least=0)
    prefix_caching: bool = option(
        False, "the beginning of a prompt that came before takes no time and is reported as cached"
    )
    tokens_per_step: int = option(1, "tokens of a sequence in a step", at_least=1)
    tokens: int = option(128, "mode random: length of an answer whose request sets no max_tokens", at_least=1)
    vocab_size: int = option(
        151_936, "size of the vocabulary that the engine reports; a prompt may hold any id", at_least=1
    )
    max_context: int = option(32_768, "tokens of prompt and answer together, as the engine reports it", at_least=1)
    random_ids: tuple[int, int] = option(
        (0, 151_643), "mode random: the first id to draw from, and the one after the last", phrase="two token ids"
    )
    log_prob: float = option(-0.5, "log probability of every token")
    forms: Literal["refuse", "play"] = option(
        "refuse", "a request for a form of the answer: refused, or taken and the script played as it is"
    )
    fail_after: int | None = option(None, "every sequence fails after this many tokens", at_least=1)
    crash_on: int | None = option(None, "the process ends when a prompt holds this id", at_least=0)

    def __post_init__(self) -> None:
        check_options(self)
        if self.mode == "scripts" and not self.scripts:
            raise OptionError("scripts", "mode «scripts» needs at least one list of token ids", self.scripts)
        if self.random_ids[0] >= self.random_ids[1]:
            raise OptionError("random_ids", "the second must be larger than the first", self.random_ids)
