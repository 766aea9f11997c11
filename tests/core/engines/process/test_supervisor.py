"""The supervisor repeats the engine's own words, ends only its own engine, and lets it finish what it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qwen_triton.engines.process.client import EngineClient, connect
from qwen_triton.engines.process.loads import OwnLoad
from qwen_triton.engines.process.supervisor import EngineSupervisor
from qwen_triton.errors import EngineError
from qwen_triton.types import EngineRequest, SamplingParams
from tests.core.engines.process.test_client import Receiver
from tests.support.live.waiting import becomes

WAIT_S = 20.0
IDS = tuple(range(10, 110))


@pytest.fixture
def own() -> Iterator[OwnLoad]:
    made = OwnLoad("server", Path("/r"), "tensorrt_llm", 1)
    yield made
    made.remove()


def supervisor(own: OwnLoad, **options: object) -> EngineSupervisor:
    return EngineSupervisor({"engine": "replay", **options}, own, os.getpid(), load_s=30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slots": 0}, r"the engine did not start: .*slots.*1"),
        ({"no_such": 1}, r"the engine did not start: .*no_such"),
        ({"engine": "none"}, r"the engine did not start: .*none"),
    ],
)
def test_an_engine_that_cannot_start_says_why(own: OwnLoad, options: dict[str, object], words: str) -> None:
    with pytest.raises(EngineError, match=words) as failure:
        supervisor(own, **options).start()
    assert "Traceback" not in str(failure.value)


def test_an_engine_that_is_killed_while_it_loads(own: OwnLoad) -> None:
    made = supervisor(own)

    def kill() -> None:
        assert becomes(lambda: made._process is not None, WAIT_S)
        assert made._process is not None
        made._process.kill()

    threading.Thread(target=kill).start()
    with pytest.raises(EngineError, match="its process was killed; a kernel that is out of memory does that"):
        made.start()


def test_stop_returns_when_the_running_sequences_are_done(own: OwnLoad) -> None:
    made = supervisor(own, step_ms=10.0)
    made.start()
    client = EngineClient(lambda: own.load.engine_socket)
    receiver = Receiver(client)
    client.submit([(1, EngineRequest(IDS, SamplingParams(max_tokens=len(IDS), seed=0)))])
    assert becomes(lambda: 1 in receiver.ids, WAIT_S)
    before = time.monotonic()
    made.stop()
    assert 0.3 < time.monotonic() - before < 3
    assert (receiver.ids, receiver.ends) == ({1: list(IDS)}, {1: "length"})
    receiver.stop()


def test_an_engine_that_dies_is_started_again_at_its_address(own: OwnLoad) -> None:
    made = supervisor(own)
    made.start()
    assert made._process is not None
    died = made._process.pid
    os.kill(died, signal.SIGKILL)

    def is_back() -> bool:
        try:
            connect(own.load.engine_socket)[0].close()
        except OSError:
            return False
        return made._process is not None and made._process.pid != died

    assert becomes(is_back, WAIT_S)
    made.stop()
    assert made._process.poll() == 0


def test_an_engine_whose_model_process_dies_withdraws_the_load_and_ends(own: OwnLoad) -> None:
    """Nobody would end it otherwise. It removes its folder, because nobody else does."""
    own.publish()
    with subprocess.Popen(["sleep", "60"]) as model:
        command = [sys.executable, "-m", "qwen_triton.engines.process.main", "--folder", str(own.folder)]
        command += [
            "--server-pid",
            str(os.getpid()),
            "--model-pid",
            str(model.pid),
            "--options",
            '{"engine": "replay"}',
        ]
        with subprocess.Popen(command) as engine:
            assert becomes((own.folder / "engine").exists, WAIT_S)
            assert psutil.pid_exists(engine.pid)
            model.kill()
            model.wait()
            assert engine.wait(WAIT_S) == 0
    assert not own.folder.exists()
