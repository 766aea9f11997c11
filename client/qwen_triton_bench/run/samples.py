"""Raw samples of a run: when each request was sent, what came back when, how it ended. All times are in seconds.

Times are of one monotonic clock; figures are made from them afterwards (statistics), never while the load runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sample:
    """One request. `sizes[i]` came at `times[i]`: that many token ids, or bytes where the way in carries text only.

    Responses without content are not kept. `ids` is the sum of token ids; `text` the pieces, of the first requests.
    `input_tokens` and `output_tokens` are the server's own counts, None where it gave none. `error` is a kind, short
    and without numbers, so that errors can be counted; `ended` is None when the run was stopped before the answer.
    """

    prompt: int
    sent: float
    expected_input: int | None = None
    expected_output: int = 0
    times: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    ids: int = 0
    ended: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    error: str | None = None

    @property
    def answered(self) -> bool:
        return self.ended is not None and self.error is None

    @property
    def latency(self) -> float:
        """From sending to the end; of an answered request only."""
        assert self.ended is not None
        return self.ended - self.sent

    @property
    def first_token(self) -> float | None:
        """Seconds to the first response with content; None when there was none."""
        return self.times[0] - self.sent if self.times else None

    @property
    def gaps(self) -> list[float]:
        """Between responses with content."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    @property
    def time_per_output_token(self) -> float | None:
        """From the first content to the last, for each token after the first; None for answers of one token or piece."""
        if self.output_tokens is None or self.output_tokens < 2 or len(self.times) < 2:
            return None
        return (self.times[-1] - self.times[0]) / (self.output_tokens - 1)


@dataclass(frozen=True)
class Run:
    """What a load left behind. `client_cpu_s`: processor time of this process from `started` to `ended`."""

    samples: Sequence[Sample]
    started: float
    ended: float
    client_cpu_s: float
    streamed: bool
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        return self.ended - self.started
