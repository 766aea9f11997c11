"""Every process of a server is killed, and stopped for ten seconds, under 24 callers on six ways in."""

from __future__ import annotations

import contextlib
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from qwen_triton.tensors.contract import BLS, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from qwen_triton_build.commands import health
from tests.support.live.crowd import Received
from tests.support.live.launches import Launch, gone, launched, wait_for
from tests.support.live.shims import status
from tests.support.live.six_ways import MODEL, Crowd, all_answer, live_server
from tests.support.live.waiting import becomes

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

Record = Callable[[str, object], None]
"""pytest's `record_property`: what is recorded is a column of the table of `python -m tests.tools.measure_faults`."""
LONG = "and on " * 400
ERROR_S, FLIP_S, BACK_S, STOP_S = 5.0, 2.0, 40.0, 10.0
SOME, MANY = 300, 3000
"""Tokens of answers that last some seconds, and of answers that a test ends."""
STUBS = (PREPROCESSING, TENSORRT_LLM, POSTPROCESSING, BLS)
SERVER, ENGINE, SHIM = "tritonserver", "the engine", "the shim"


@pytest.fixture(scope="module")
def launch(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Restarted by policy as often as it takes; at the end nothing of it is left."""
    deployment = {
        "model": str(qwen25_folder),
        "served_model_name": MODEL,
        "engine": {"kind": "replay", "step_ms": 20.0},
        "server": {"max_restarts": 100},
        "openai": {"drain_s": 10.0},
    }
    with launched(deployment, tmp_path_factory.mktemp("faults"), "--on-failure", "restart") as running:
        yield running
        processes = running.descendants()
        assert running.end() == 0, running.errors
        assert gone(processes)
        assert running.leftovers() == []
        assert "Traceback" not in running.errors


def find(launch: Launch, name: str) -> psutil.Process:
    if name in STUBS:
        return launch.find("triton_python_backend_stub", f"/{name}/")
    words = {SERVER: ("bin/tritonserver",), ENGINE: ("engines.process.main",), SHIM: ("qwen_triton_build.cli", "shim")}
    return launch.find(*words[name])


def healthy(launch: Launch) -> bool:
    """What `qwen-triton health` says."""
    return health.run(Namespace(deployment=launch.folder / "deployment.yaml")) == 0


def shim_ready(launch: Launch) -> bool:
    return status(f"http://127.0.0.1:{launch.deployment.openai.port}/health/ready") == 200


def triton_ready(launch: Launch) -> bool:
    return status(f"{launch.url}/v2/health/ready") == 200


def is_ready(launch: Launch) -> None:
    """Both are ready, or become so: what a failed test leaves behind fails no other."""
    assert becomes(lambda: healthy(launch) and shim_ready(launch), BACK_S), launch.errors


def pauses_s(launch: Launch) -> int:
    """Seconds that the policy has paused so far before it started something again; they double with each fault."""
    return sum(map(int, re.findall(r"starting it again in (\d+) s", launch.errors + launch.output)))


class Fault:
    """A fault, from now on, and what it costs."""

    def __init__(self, launch: Launch, record: Record) -> None:
        self.at = time.monotonic()
        self._launch = launch
        self._record = record
        self._pauses_s = pauses_s(launch)

    def flips(self, ready: Callable[[Launch], bool]) -> bool:
        """Whether `ready` says in time that it is not."""
        flipped = becomes(lambda: not ready(self._launch), FLIP_S)
        self._record(f"{ready.__name__} until, s", f"{time.monotonic() - self.at:.2f}")
        return flipped and time.monotonic() < self.at + FLIP_S

    def cost(self, received: Sequence[Received]) -> None:
        """Records how many lost their answer, and when the last one heard of it; each hears of it in time."""
        errors = [h for h in received if h.error]
        last_s = max((h.over_at for h in errors), default=self.at) - self.at
        self._record("lost", f"{len(errors)} of {len(received)}")
        self._record("last error, s", f"{last_s:.1f}")
        assert last_s < ERROR_S

    def is_back(self) -> None:
        """Both are ready again and every way in answers; records when, without the pauses of the policy."""
        is_ready(self._launch)
        assert all_answer(self._launch) == []
        pauses = pauses_s(self._launch) - self._pauses_s
        self._record("back after, s", f"{time.monotonic() - self.at - pauses:.1f} + {pauses}")


def running(launch: Launch) -> int:
    return int(live_server(launch).engine_counters()["running"])


def crowd(launch: Launch, tokens: int, wait_s: float) -> Crowd:
    """24 callers, all of whose sequences run and whose streams have begun: an error before that is a status of Triton's own."""
    is_ready(launch)
    callers = Crowd(launch, LONG, tokens, wait_s, ignore_eos=True)
    wait_for(lambda: running(launch) == 24 and callers.has_begun())
    return callers


@pytest.mark.parametrize("victim", [*STUBS, SERVER])
def test_a_killed_process_of_the_server_ends_all_calls_and_is_back(
    launch: Launch, victim: str, record_property: Record
) -> None:
    """Every caller hears an error at once; Triton, the shim and `health` say that it is not ready; it is back by policy."""
    callers = crowd(launch, MANY, 60.0)
    fault = Fault(launch, record_property)
    find(launch, victim).kill()
    assert [ready.__name__ for ready in (triton_ready, shim_ready, healthy) if not fault.flips(ready)] == []
    received = callers.end()
    assert [h for h in received if not h.error] == []
    fault.cost(received)
    fault.is_back()


def test_a_killed_engine_ends_its_calls_and_is_back(launch: Launch, record_property: Record) -> None:
    """The server goes on: only the engine is started again, and until then who asks waits."""
    callers = crowd(launch, MANY, 60.0)
    server = live_server(launch).pid
    fault = Fault(launch, record_property)
    find(launch, ENGINE).kill()
    received = callers.end()
    assert [h for h in received if "try again" not in h.error] == []
    fault.cost(received)
    assert {h.status for h in received if not h.pieces and h.status.isdigit()} == {"503"}
    fault.is_back()
    assert live_server(launch).pid == server


def test_a_killed_shim_ends_its_calls_only(launch: Launch, record_property: Record) -> None:
    callers = crowd(launch, SOME, 60.0)
    fault = Fault(launch, record_property)
    find(launch, SHIM).kill()
    assert fault.flips(healthy)
    fault.is_back()
    received = callers.end()
    assert len([h for h in received if h.error]) == 8
    fault.cost(received)


@pytest.mark.parametrize("victim", [TENSORRT_LLM, BLS, SERVER, ENGINE, SHIM])
def test_a_process_that_stops_for_ten_seconds_lets_callers_wait(
    launch: Launch, victim: str, record_property: Record
) -> None:
    """Answers go on afterwards, or are errors; none is a mixture, none hangs, and nothing is restarted."""
    callers = crowd(launch, SOME, 60.0)
    server = live_server(launch).pid
    process = find(launch, victim)
    process.suspend()
    time.sleep(STOP_S)
    process.resume()
    fault = Fault(launch, record_property)
    fault.is_back()
    received = callers.end()
    expected = LONG[: max(len(b"".join(h.pieces)) for h in received)]
    assert [h.error for h in received if "no end within" in h.error] == []
    assert {b"".join(h.pieces).decode() for h in received if not h.error} <= {expected}
    fault.cost(received)
    assert live_server(launch).pid == server


@pytest.mark.parametrize("victim", [PREPROCESSING, POSTPROCESSING])
def test_a_model_of_the_ensemble_that_stops_ends_tritonserver_which_is_back(
    launch: Launch, victim: str, record_property: Record
) -> None:
    """tritonserver 2.51 gives up a model that does not answer for some seconds; its process ends once it goes on, and the
    launcher ends the server, which the policy brings back."""
    is_ready(launch)
    server, process = find(launch, SERVER), find(launch, victim)
    process.suspend()
    callers = Crowd(launch, LONG, 100, 60.0, ignore_eos=True)
    time.sleep(STOP_S)
    with contextlib.suppress(psutil.NoSuchProcess):  # it has been killed with its server
        process.resume()
    fault = Fault(launch, record_property)
    received = callers.end()
    assert [h.error for h in received if "no end within" in h.error] == []
    fault.cost(received)
    assert becomes(lambda: gone([server]), ERROR_S)
    fault.is_back()
