"""How long a request may wait: both spellings of Triton's timeout and the deployment's bound."""

from __future__ import annotations

import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.request_parameters import limit_wait, queue_timeout_s
from qwen_triton.types import EngineRequest, SamplingParams


@pytest.mark.parametrize(
    ("own_us", "parameters", "most_ms", "seconds"),
    [
        (0, {}, 0, None),
        (0, {"timeout": 0}, 0, None),
        (500_000, {}, 0, 0.5),
        (0, {"timeout": 250_000, "id": "x"}, 0, 0.25),
        (0, {}, 2000, 2.0),
        (500_000, {}, 2000, 0.5),
        (5_000_000, {}, 2000, 2.0),
        (0, {"timeout": 5_000_000}, 2000, 2.0),
    ],
)
def test_the_shorter_of_the_requests_and_the_deployments(
    own_us: int, parameters: dict[str, object], most_ms: int, seconds: float | None
) -> None:
    """A request may ask for less than the deployment allows, never for more; 0 is none."""
    assert queue_timeout_s(own_us, parameters, most_ms) == seconds


@pytest.mark.parametrize("given", ["2000000", 1.5, -1, True, None])
def test_what_is_no_number_of_microseconds_is_refused(given: object) -> None:
    with pytest.raises(InvalidRequest, match="timeout: expected whole microseconds, 0 for none, got"):
        queue_timeout_s(0, {"timeout": given}, 0)


def test_the_first_sequence_stands_for_its_call() -> None:
    request = EngineRequest((1,), SamplingParams(max_tokens=1, seed=0))
    assert [r.queue_timeout_s for r in limit_wait([request] * 3, 0.5)] == [0.5, None, None]
