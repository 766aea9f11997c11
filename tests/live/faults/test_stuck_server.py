"""tritonserver 2.51's gRPC front end locks up when a client's cancel meets a response: the server is started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS
from tests.live.faults.test_processes import healthy
from tests.support.live.client import generate
from tests.support.live.crowd import Grpc, together
from tests.support.live.launches import Launch, gone, launched
from tests.support.live.six_ways import live_server
from tests.support.live.waiting import becomes

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

STEP_MS, DELAY_MS = 400.0, 300
DELAYED = {"TRITONSERVER_DELAY_GRPC_RESPONSE": str(DELAY_MS)}
"""tritonserver's own setting for tests: it keeps the stream's lock for so long before it writes a response."""
DEADLINES_S = [2.0 + n * STEP_MS / 8e3 for n in range(8)]
"""In every eighth of a step; three of four meet a response."""
STUCK_S, BACK_S = 60.0, 60.0


@pytest.fixture
def launch(qwen25_folder: Path, tmp_path: Path) -> Iterator[Launch]:
    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": STEP_MS}}
    with launched(deployment, tmp_path, "--on-failure", "restart", environment=DELAYED) as running:
        yield running


def test_a_front_end_that_has_locked_up_is_noticed_and_the_server_started_again(launch: Launch) -> None:
    """Callers whose deadline ends their streams; without the watch the server would say for ever that it is ready."""
    server, process = live_server(launch), launch.find("bin/tritonserver")
    inputs = {"text_input": "and on " * 40, "max_tokens": 100, "stream": True}
    heard = together([Grpc(server, BLS, inputs, deadline_s=deadline) for deadline in DEADLINES_S])
    assert {h.status for h in heard} == {"DEADLINE_EXCEEDED"}
    assert becomes(lambda: gone([process]), STUCK_S)
    assert "tritonserver has taken no response for 30 s: it is stuck" in (launch.folder / "log").read_text()
    assert becomes(lambda: healthy(launch), BACK_S)
    again = generate(live_server(launch), BLS, text_input="hello again", max_tokens=10)
    assert again["text_output"] == "hello again"
