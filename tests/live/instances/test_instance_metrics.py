"""Three instances of the BLS: each with its own labels, their sum right, and callers that leave reach the right one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from tests.support.live.client import generate
from tests.support.live.crowd import Grpc, Http, Received, together
from tests.support.live.metric_lines import metrics, total
from tests.support.live.repository_control import EXPLICIT, OPEN, control, has_one_engine, touch
from tests.support.live.servers import LiveServer, serving
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
INSTANCES = {f"{BLS}_0_{number}" for number in range(3)}
WAIT_S = 10.0
"""For a state to show, on a busy machine too; what a caller that leaves asked for would take three times as long."""


@pytest.fixture(scope="module")
def server(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "replay", "step_ms": 10.0, "slots": 4},
        "repository": {"bls_instances": 3},
        "server": OPEN,
    }
    with serving(deployment, tmp_path_factory.mktemp("three"), flags=EXPLICIT) as started:
        yield started


def test_requests_in_flight_are_the_sum_of_all_instances(server: LiveServer) -> None:
    """Nine long answers on four slots: four run, five wait, nine are in flight; then none."""
    inputs = {"text_input": "and on " * 400, "max_tokens": 250, "stream": True, "ignore_eos": True}
    crowd = Thread(target=together, args=([Grpc(server, BLS, inputs)] * 9,))
    crowd.start()

    def seen() -> tuple[float, ...]:
        states = [total(server, f"requests_{state}", TENSORRT_LLM) for state in ("running", "waiting")]
        return (*states, total(server, "requests_in_flight", BLS))

    assert becomes(lambda: seen() == (4, 5, 9), WAIT_S), seen()
    crowd.join()
    assert becomes(lambda: seen() == (0, 0, 0), WAIT_S), seen()
    assert becomes(lambda: total(server, "requests_finished_total", BLS) == 9, WAIT_S)
    assert becomes(lambda: total(server, "output_tokens_total", BLS) == 9 * 250, WAIT_S)


def test_every_instance_publishes_with_its_own_labels(server: LiveServer) -> None:
    """Also one that got no request: its first metrics come a second after it was loaded."""

    def instances() -> set[str]:
        found = metrics(server, "requests_in_flight")
        return {m.labels["model_instance"] for m in found if m.labels["model"] == BLS}

    assert becomes(lambda: instances() == INSTANCES, WAIT_S), instances()
    assert {m.labels["version"] for m in metrics(server, "requests_in_flight")} == {"1"}


@pytest.mark.parametrize("kind", [Grpc, Http])
def test_callers_of_each_instance_that_leave_free_their_slots(
    server: LiveServer, kind: type[Grpc] | type[Http]
) -> None:
    inputs = {"text_input": "and on " * 1500, "max_tokens": 3000, "stream": True}
    received = together([kind(server, BLS, inputs, leaves_after=2)] * 4)
    assert all(h.left for h in received)
    assert becomes(server.is_free, WAIT_S)


def test_a_stop_request_ends_the_request_of_its_id_and_no_other(server: LiveServer) -> None:
    """Of the ensemble, beside requests of the same kind that go on. They last long enough for the stop to arrive."""
    inputs = {"text_input": "one two three " * 100, "max_tokens": 300, "stream": True}
    callers = [Grpc(server, ENSEMBLE, inputs, "stays", stops=False), Grpc(server, BLS, inputs, "gone")]
    gone = Grpc(server, ENSEMBLE, inputs, "gone", leaves_after=2, stops=True)
    stayed, other, stopped = together([*callers, gone])
    assert [stayed.finish, other.finish, stopped.finish] == ["length", "length", "cancelled"]
    assert stayed.text == other.text
    assert stopped.is_beginning_of(stayed.text)


def test_a_reload_leaves_no_gauge_behind(server: LiveServer) -> None:
    """Old and new instance share their labels while both are there; what the old one added goes with it."""
    received: list[Received] = []
    inputs = {"text_input": "one two three four five " * 60, "max_tokens": 250, "stream": True}
    crowd = Thread(target=lambda: received.extend(together([Grpc(server, BLS, inputs)] * 3)))
    crowd.start()
    assert becomes(lambda: total(server, "requests_in_flight", BLS) == 3, WAIT_S)
    for model in (BLS, TENSORRT_LLM):
        touch(server, model)
        assert control(server, model, "load") == ""
    assert generate(server, BLS, text_input="hello", max_tokens=2)["text_output"] == "hello"
    crowd.join()
    assert all(not h.error for h in received)
    assert has_one_engine(server)
    for family, model in (("requests_in_flight", BLS), ("requests_running", TENSORRT_LLM)):
        assert becomes(lambda: total(server, family, model) == 0, WAIT_S)  # noqa: B023  asked in this round
