"""Every process of a server is killed, and stopped for ten seconds, under 24 callers on six ways in."""

from __future__ import annotations

import contextlib
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qwen_triton.tensors.contract import BLS, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from qwen_triton_build.commands import health
from tests.support.live.launches import Launch, gone, launched, wait_for
from tests.support.live.shims import status
from tests.support.live.six_ways import MODEL, Crowd, all_answer, live_server
from tests.support.live.waiting import becomes

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

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


def is_ready(launch: Launch) -> None:
    """Both are ready, or become so: what a failed test leaves behind fails no other."""
    assert becomes(lambda: healthy(launch) and shim_ready(launch), BACK_S), launch.errors


def is_back(launch: Launch) -> None:
    """Both are ready again, and every way in answers."""
    is_ready(launch)
    assert all_answer(launch) == []


def running(launch: Launch) -> int:
    return int(live_server(launch).engine_counters()["running"])


def crowd(launch: Launch, tokens: int, wait_s: float) -> Crowd:
    """24 callers, all of whose sequences run and whose streams have begun: an error before that is a status of Triton's own."""
    is_ready(launch)
    callers = Crowd(launch, LONG, tokens, wait_s, ignore_eos=True)
    wait_for(lambda: running(launch) == 24 and callers.has_begun())
    return callers


@pytest.mark.parametrize("victim", [*STUBS, SERVER])
def test_a_killed_process_of_the_server_ends_all_calls_and_is_back(launch: Launch, victim: str) -> None:
    """Every caller hears an error at once; nobody calls it ready; it comes back by policy."""
    callers = crowd(launch, MANY, 60.0)
    killed = time.monotonic()
    find(launch, victim).kill()
    assert becomes(lambda: not healthy(launch), FLIP_S)
    assert not shim_ready(launch)
    assert time.monotonic() < killed + FLIP_S
    received = callers.end()
    assert [h for h in received if not h.error] == []
    assert max(h.over_at for h in received) < killed + ERROR_S
    is_back(launch)


def test_a_killed_engine_ends_its_calls_and_is_back(launch: Launch) -> None:
    """The server goes on: only the engine is started again, and until then who asks waits."""
    callers = crowd(launch, MANY, 60.0)
    server = live_server(launch).pid
    killed = time.monotonic()
    find(launch, ENGINE).kill()
    received = callers.end()
    assert [h for h in received if "try again" not in h.error] == []
    assert max(h.over_at for h in received) < killed + ERROR_S
    assert {h.status for h in received if not h.pieces and h.status.isdigit()} == {"503"}
    is_back(launch)
    assert live_server(launch).pid == server


def test_a_killed_shim_ends_its_calls_only(launch: Launch) -> None:
    callers = crowd(launch, SOME, 60.0)
    killed = time.monotonic()
    find(launch, SHIM).kill()
    assert becomes(lambda: not healthy(launch), FLIP_S)
    received = callers.end()
    cut = [h for h in received if h.error]
    assert len(cut) == 8
    assert max(h.over_at for h in cut) < killed + ERROR_S
    is_back(launch)


@pytest.mark.parametrize("victim", [TENSORRT_LLM, BLS, SERVER, ENGINE, SHIM])
def test_a_process_that_stops_for_ten_seconds_lets_callers_wait(launch: Launch, victim: str) -> None:
    """Answers go on afterwards, or are errors; none is a mixture, none hangs, and nothing is restarted."""
    callers = crowd(launch, SOME, 60.0)
    server = live_server(launch).pid
    process = find(launch, victim)
    process.suspend()
    time.sleep(STOP_S)
    process.resume()
    received = callers.end()
    expected = LONG[: max(len(b"".join(h.pieces)) for h in received)]
    assert [h.error for h in received if "no end within" in h.error] == []
    assert {b"".join(h.pieces).decode() for h in received if not h.error} <= {expected}
    is_back(launch)
    assert live_server(launch).pid == server


@pytest.mark.parametrize("victim", [PREPROCESSING, POSTPROCESSING])
def test_a_model_of_the_ensemble_that_stops_ends_tritonserver_which_is_back(launch: Launch, victim: str) -> None:
    """tritonserver 2.51 gives up a model that does not answer for some seconds; its process ends once it goes on, and the
    launcher ends the server, which the policy brings back."""
    is_ready(launch)
    server, process = find(launch, SERVER), find(launch, victim)
    process.suspend()
    callers = Crowd(launch, LONG, 100, 60.0, ignore_eos=True)
    time.sleep(STOP_S)
    with contextlib.suppress(psutil.NoSuchProcess):  # it has been killed with its server
        process.resume()
    for caller in callers.end():
        assert "no end within" not in caller.error
    assert becomes(lambda: gone([server]), ERROR_S)
    is_back(launch)
