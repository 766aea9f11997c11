"""Entry point of an engine's process: loads one engine from its options and serves it.

`python -m qwen_triton.engines.process.main` with

    --address NAME      abstract Unix address to listen at
    --owner-pid PID     process whose end ends this one (tritonserver)
    --options JSON      {"engine": "openvino" | "replay", …the options of that engine}; «-»: read from stdin

SIGTERM stops it gracefully. SIGINT is ignored: the terminal sends it to the owner too, which then stops this process.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any

from ...errors import ConfigurationError
from ..kinds import load_engine
from .log_lines import start_logging
from .server import EngineServer


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m qwen_triton.engines.process.main", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--owner-pid", type=int)
    parser.add_argument("--options", required=True, type=_read_options)
    arguments = parser.parse_args(argv)
    start_logging("qwen-triton engine: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine = load_engine(arguments.options)
    except ConfigurationError as error:
        print(f"qwen-triton engine: {error}", file=sys.stderr, flush=True)
        return 2
    server = EngineServer(engine, arguments.address, arguments.owner_pid)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.run()
    return 0


def _read_options(text: str) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(sys.stdin.read() if text == "-" else text)
    return options


if __name__ == "__main__":
    sys.exit(main())
