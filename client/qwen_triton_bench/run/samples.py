"""Raw samples of a run: when each request was sent, what came back when, how it ended.

Times are seconds of one monotonic clock. Figures are computed from them after the run (statistics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sample:
    """One request. `sizes[i]` came at `times[i]`: so many token ids, or bytes where the target gives text only.

    Responses without content are not recorded. `ids`: number of token ids received; `text`: pieces of text, recorded for
    the first requests only. `input_tokens`, `output_tokens`, `cached_tokens`: the server's counts, None where it gives
    none. `error`: a kind of error, without numbers, so that equal ones can be counted. `ended`: None when the run was
    stopped before the answer's end.
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
        """Seconds from sending to the answer's end, of an answered request only."""
        assert self.ended is not None
        return self.ended - self.sent

    @property
    def first_token(self) -> float | None:
        """Seconds to the first response with content; None when there was none."""
        return self.times[0] - self.sent if self.times else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between responses with content."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    @property
    def time_per_output_token(self) -> float | None:
        """Seconds per token after the first, from first to last content; None for answers of one token or one piece."""
        if self.output_tokens is None or self.output_tokens < 2 or len(self.times) < 2:
            return None
        return (self.times[-1] - self.times[0]) / (self.output_tokens - 1)


@dataclass(frozen=True)
class Run:
    """All samples of a load. `client_cpu_s`: processor time of this process from `started` to `ended`."""

    samples: Sequence[Sample]
    started: float
    ended: float
    client_cpu_s: float
    streamed: bool
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        return self.ended - self.started
