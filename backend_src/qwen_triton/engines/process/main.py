"""Entry point of an engine's process: loads one engine from its options and serves it.

`python -m qwen_triton.engines.process.main` with

    --folder FOLDER     private folder of the model's load, for the engine's socket
    --server-pid PID    tritonserver, whose end ends this process at once
    --model-pid PID     process of the model, whose end lets this one finish its sequences and end
    --options JSON      {"engine": "openvino" | "replay", …the options of that engine}; «-»: read from stdin

SIGTERM stops it gracefully. SIGINT is ignored: the terminal sends it to the owner too, which then stops this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from ..kinds import load_engine
from .loads import withdraw_load
from .log_lines import start_logging
from .server import EngineServer

_log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m qwen_triton.engines.process.main", description=__doc__)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--server-pid", type=int)
    parser.add_argument("--model-pid", type=int)
    parser.add_argument("--options", required=True, type=_read_options)
    arguments = parser.parse_args(argv)
    folder: Path = arguments.folder
    start_logging("qwen-triton engine: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine = load_engine(arguments.options)
    except Exception as error:  # the model repeats it as the reason why it cannot be loaded
        expected = isinstance(error, ConfigurationError)
        words = str(error) if expected else f"{type(error).__name__}: {error}"
        (folder / "failure").write_text(words, encoding="utf-8")
        _log.error("%s", words, exc_info=None if expected else error)
        return 2
    server = EngineServer(
        engine,
        str(folder / "engine"),
        arguments.server_pid,
        arguments.model_pid,
        on_leave=lambda: withdraw_load(folder),
    )
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.run()
    if server.is_orphan:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _read_options(text: str) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(sys.stdin.read() if text == "-" else text)
    return options


if __name__ == "__main__":
    sys.exit(main())
