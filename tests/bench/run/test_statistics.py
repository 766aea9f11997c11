"""Figures against distributions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton_bench.report.table import stock_rows
from qwen_triton_bench.run.samples import Run, Sample
from qwen_triton_bench.run.statistics import Figures, GoodputLimits, Spread, figures, in_flight


def sample(sent: float, ended: float | None, times: tuple[float, ...] = (), tokens: int = 0, **more: object) -> Sample:
    """A request whose responses came at `times` with equal shares of `tokens`."""
    sizes = [tokens // len(times)] * len(times) if times else []
    return Sample(0, sent, times=list(times), sizes=sizes, ended=ended, output_tokens=tokens, **more)  # type: ignore[arg-type]


def run(*samples: Sample, started: float = 0.0, ended: float) -> Run:
    return Run(samples, started, ended, 0.25, streamed=True)


def test_percentiles_of_a_uniform_distribution() -> None:
    """0 … 100: the percentile is the number itself."""
    spread = Spread.of(float(i) for i in range(101))
    assert spread.percentiles == {50: 50.0, 90: 90.0, 95: 95.0, 99: 99.0}
    assert (spread.count, spread.mean, spread.least, spread.most) == (101, 50.0, 0.0, 100.0)


def test_percentiles_of_an_exponential_distribution() -> None:
    """ln 2 and ln 100 times the mean, within what 200,000 draws scatter."""
    draws = np.random.default_rng(3).exponential(2.0, 200_000)
    spread = Spread.of(draws)
    assert spread.percentiles[50] == pytest.approx(2 * np.log(2), rel=0.01)
    assert spread.percentiles[99] == pytest.approx(2 * np.log(100), rel=0.02)
    assert spread.deviation == pytest.approx(2.0, rel=0.01)


def test_nothing_measured_is_zero_and_says_so() -> None:
    """No value: count 0, no invented numbers, no error."""
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0, 0.0, {50: 0.0, 90: 0.0, 95: 0.0, 99: 0.0})


def test_times_of_one_stream() -> None:
    """TTFT to the first response, gaps between responses, TPOT from first to last over the tokens after the first."""
    f = figures(run(sample(1.0, 3.0, (1.5, 1.75, 2.5), 9), ended=4.0))
    assert f.first_token.mean == pytest.approx(0.5)
    assert [f.gaps.least, f.gaps.most] == pytest.approx([0.25, 0.75])
    assert f.time_per_output_token.mean == pytest.approx(1.0 / 8)
    assert f.tokens_per_response == 3.0
    assert f.latency.mean == pytest.approx(2.0)


def test_in_flight_is_the_area_over_the_time() -> None:
    """Two of 2 s and one of 1 s in 4 s: 5 / 4 on average, 2 at most; back to back does not overlap."""
    found = in_flight(run(sample(0.0, 2.0), sample(1.0, 3.0), sample(3.0, 4.0), ended=4.0))
    assert found.mean == pytest.approx(1.25)
    assert found.most == 2


def test_in_flight_agrees_with_little_s_law() -> None:
    """Arrival rate times mean latency, for random arrivals and latencies."""
    chance = np.random.default_rng(5)
    sent = np.sort(chance.uniform(0, 100, 5000))
    ended = sent + chance.gamma(2.0, 0.1, 5000)
    f = figures(run(*(sample(s, e) for s, e in zip(sent, ended, strict=True)), ended=float(ended.max())))
    assert f.in_flight.mean == pytest.approx(f.answered / f.seconds * f.latency.mean)


def test_an_unfinished_request_is_in_flight_to_the_end_and_counts_nowhere_else() -> None:
    """Stopped by hand: no latency, no tokens, but it was there."""
    f = figures(run(sample(0.0, 1.0, (1.0,), 4), sample(1.0, None, (1.5,), 4), ended=2.0))
    assert (f.sent, f.answered, f.unfinished, f.output_tokens) == (2, 1, 1, 4)
    assert f.in_flight.mean == pytest.approx(1.0)
    assert f.latency.count == 1


def test_errors_count_by_kind_and_nowhere_else() -> None:
    """A failed request has no latency among the answered ones."""
    bad = [sample(0.0, 9.0, error="full") for _ in range(2)]
    f = figures(run(sample(0.0, 1.0, (1.0,), 4), *bad, sample(0.0, 9.0, error="gone"), ended=9.0))
    assert f.errors == {"full": 2, "gone": 1}
    assert (f.answered, f.latency.most) == (1, 1.0)


def test_goodput_counts_what_kept_every_limit() -> None:
    """Of four, one is late to start, one slow to go on, one failed."""
    good = sample(0.0, 1.0, (0.1, 1.0), 10)
    late = sample(0.0, 2.0, (1.1, 2.0), 10)
    slow = sample(0.0, 4.0, (0.1, 4.0), 10)
    f = figures(run(good, late, slow, sample(0.0, 1.0, error="x"), ended=4.0), GoodputLimits(0.5, 0.2))
    assert f.goodput is not None
    assert (f.goodput.share, f.goodput.per_second) == (0.25, 0.25)


def test_no_limits_no_goodput() -> None:
    """A share of 100 % of nothing asked for would say nothing."""
    assert figures(run(sample(0.0, 1.0), ended=1.0)).goodput is None


def five_hundred_at_once() -> Figures:
    """500 requests of 256 tokens each way, all answered after 12 s."""
    answers = (sample(0.0, 12.0, (12.0,), 256, input_tokens=256) for _ in range(500))
    return figures(run(*answers, ended=12.5))


def test_stock_s_table_has_its_ten_figures_computed_right() -> None:
    """Average in flight is measured, and the run's time is not the sum of the latencies."""
    f = five_hundred_at_once()
    assert stock_rows(f) == [
        ("Requests/Sec", "40.00"),
        ("OP tokens/sec", "10240.00"),
        ("Avg. latency (ms)", "12000.00"),
        ("P99 latency (ms)", "12000.00"),
        ("P90 latency (ms)", "12000.00"),
        ("Avg. IP tokens per request", "256.00"),
        ("Avg. OP tokens per request", "256.00"),
        ("Avg. InFlight requests", "480.00"),
        ("Total latency (ms)", "12500.00"),
        ("Total requests", "500.00"),
    ]
    assert f.latencies_sum == 6000.0
