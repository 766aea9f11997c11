"""SendRate on an idle and on a busy machine, with processors whose idle time the test sets."""

from __future__ import annotations

import pytest

from qwen_triton.serving import send_rate
from qwen_triton.serving.send_rate import ENSEMBLE_MIN_PER_CPU, LinuxProcessors, SendBudget, SendRate


class FakeProcessors:
    """Processors that were idle for as long as the test says."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.idle = 0
        self.all = 0

    def pass_time(self, idle: float) -> None:
        """A hundred ticks, of which a share was idle."""
        self.idle += round(100 * idle)
        self.all += 100

    def times(self) -> tuple[int, int]:
        return self.idle, self.all


def adapted(machine: FakeProcessors, *idle: float) -> list[float]:
    """The rate after each look."""
    rate, found = SendRate(machine), []
    for n, share in enumerate(idle, 1):
        machine.pass_time(share)
        rate.adapt(float(n))
        found.append(rate.per_s)
    return found


def test_a_machine_with_time_to_spare_gets_the_most() -> None:
    assert adapted(FakeProcessors(2), 0.5, 0.9) == [5600.0, 5600.0]


def test_without_an_idle_processor_it_falls_step_by_step_and_not_below_the_least() -> None:
    found = adapted(FakeProcessors(2), *[0.0] * 20)
    assert found[:2] == pytest.approx([5600 / 1.1, 5600 / 1.21])
    assert found[-1] == 3000.0


def test_the_least_may_be_lower_where_a_response_costs_more() -> None:
    machine = FakeProcessors(2)
    rate = SendRate(machine, least_per_cpu=ENSEMBLE_MIN_PER_CPU)
    for n in range(40):
        machine.pass_time(0.0)
        rate.adapt(float(n))
    assert rate.per_s == 1200.0


def test_it_rises_again_and_stays_in_between() -> None:
    machine = FakeProcessors(1)
    falling = adapted(machine, *[0.0] * 3)
    assert adapted(FakeProcessors(1), 0.0, 0.0, 0.0, 0.15, 0.3)[3:] == pytest.approx([falling[2], falling[1]])


def test_a_bound_on_the_responses_is_of_all_processes() -> None:
    """Shared evenly; below the least of a busy machine it is the least too."""
    machine = FakeProcessors(16)
    assert SendRate(machine).per_s == 12_000
    assert SendRate(machine, processes=4).per_s == 3000
    rate = SendRate(machine, most_per_s=10_000, processes=2)
    assert rate.per_s == 5000
    machine.pass_time(0.0)
    rate.adapt(1.0)
    assert rate.per_s == 5000
    bounded = SendRate(FakeProcessors(2), most_per_s=4000)
    for n in range(20):
        bounded.adapt(float(n))
    assert bounded.per_s == 3000


@pytest.mark.parametrize(
    ("processors", "most_per_s", "counts"),
    [(2, 0, 0.7), (3, 0, 0.7), (4, 0, 11_200 / 12_000), (16, 0, 1.0), (2, 9000, 1.0)],
)
def test_a_response_past_the_server_takes_less_where_processors_bound_the_rate(
    processors: int, most_per_s: int, counts: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound on the responses themselves, the deployment's or that of any machine, counts each."""
    monkeypatch.setattr(send_rate.time, "monotonic", lambda: 100.0)
    rate = SendRate(FakeProcessors(processors), most_per_s=most_per_s)
    assert rate.past_server == pytest.approx(counts)
    budget = SendBudget(rate, lambda: 1.0)
    spent = 0
    while budget.spend(through_server=False):
        spent += 1
    assert spent == 1 + int(31 / counts)


def test_it_looks_five_times_a_second_at_most() -> None:
    machine = FakeProcessors(2)
    rate = SendRate(machine)
    for n in range(100):
        machine.pass_time(0.0)
        rate.adapt(10.0 + n / 1000)
    assert rate.per_s == pytest.approx(5600 / 1.1)


def test_linux_counts_idle_time() -> None:
    processors = LinuxProcessors()
    idle, whole = processors.times()
    assert 0 < idle < whole
    assert processors.count >= 1


def test_a_senders_budget_comes_at_its_share_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the share is at the moment, and never more than 32 responses at once."""
    now, share = 100.0, 0.25
    monkeypatch.setattr(send_rate.time, "monotonic", lambda: now)
    budget = SendBudget(SendRate(FakeProcessors(2), most_per_s=800), lambda: share)

    def spent() -> int:
        count = 0
        while budget.spend(through_server=True):
            count += 1
        return count

    assert spent() == 32
    now += 0.0501
    assert spent() == 10
    share = 0.5
    now += 0.0501
    assert spent() == 20
    now += 10.0
    assert spent() == 32


@pytest.mark.parametrize(("per_s", "responses"), [(300, 4), (900, 9), (30_000, 16)])
def test_a_sender_whose_budget_is_used_up_waits_for_as_many_as_come_in_ten_ms(
    per_s: int, responses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least four, so that it does not wake for each, and at most as many as it sends together."""
    monkeypatch.setattr(send_rate.time, "monotonic", lambda: 100.0)
    budget = SendBudget(SendRate(FakeProcessors(2), most_per_s=per_s), lambda: 1.0)
    assert budget.wait_s() == 0
    while budget.spend(through_server=True):
        pass
    assert budget.wait_s() == pytest.approx(responses / per_s)
