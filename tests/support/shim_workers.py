"""A shim of several workers in front of an engine that is not there, as processes.

python -m tests.support.shim_workers SETTINGS    serves; SETTINGS as JSON, `workers` among them
python -m tests.support.shim_workers             is one of its workers: 100 tokens a second for each request
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import GenerateRequest, Usage
from qwen_triton_openai.processes.main_process import serve_with_workers
from qwen_triton_openai.processes.worker import main
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeGeneration, FakeTriton
from tests.support.live.servers import free_ports

WORKER = (sys.executable, "-m", "tests.support.shim_workers")
STEP_S = 0.01
READY_S = 60.0


class _SlowGeneration(FakeGeneration):
    async def read(self) -> list[TextPiece]:
        await asyncio.sleep(STEP_S)
        return await super().read()


class SlowTriton(FakeTriton):
    """Says «x» for each token that was asked for."""

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        del model, arrays
        return {"INPUT_ID": np.array([[1, 2, 3]], np.int32).tobytes()}

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: object = ()
    ) -> FakeGeneration:
        del model, request_id, metadata
        count = request.sampling.max_tokens or 1
        end = TextPiece("x", finish="length", usage=Usage(3, count))
        return _SlowGeneration([*[TextPiece("x")] * (count - 1), end], False)


@contextmanager
def running(
    folder: Path, command: Sequence[str] = (*WORKER,), **settings: Any
) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """The main process, its URL and its log; it is not waited for. Killed at the end if it still runs."""
    port = settings.pop("port", None) or free_ports(1)[0]
    log = folder / "shim.log"
    given = ShimSettings(port=port, **settings).model_dump_json()
    environment = {**os.environ, "SHIM_WORKER": "\n".join(command)}
    with log.open("wb") as output:
        process = subprocess.Popen([*WORKER, given], stdout=output, stderr=output, env=environment)
    try:
        yield process, f"http://127.0.0.1:{port}", log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_served(url: str) -> None:
    """Returns when it answers /health."""
    ends = time.monotonic() + READY_S
    while time.monotonic() < ends:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=READY_S):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError("the shim does not answer")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        parsed = ShimSettings.model_validate_json(sys.argv[1])
        sys.exit(serve_with_workers(parsed, parsed.worker_count, os.environ["SHIM_WORKER"].split("\n")))
    sys.exit(main(lambda _: SlowTriton()))
