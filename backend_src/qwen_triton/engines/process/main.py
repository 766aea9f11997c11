"""Entry point of an engine's process: loads one engine from its options and serves it.

`python -m qwen_triton.engines.process.main` with

    --address NAME      abstract Unix address to listen at
    --owner-pid PID     process whose end ends this one (tritonserver)
    --options JSON      {"engine": "openvino" | "replay", …the options of that engine}

SIGTERM stops it gracefully. SIGINT is ignored: the terminal sends it to the owner too, which then stops this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from dataclasses import fields
from typing import Any, TypeVar, cast

from ...errors import ConfigurationError
from ..engine import StepEngine
from .server import EngineServer


def load_engine(options: dict[str, Any]) -> StepEngine:
    """The engine that `options` describe. Raises ConfigurationError for an unknown engine or option."""
    kind = options.get("engine")
    own = {k: v for k, v in options.items() if k != "engine"}
    if kind == "replay":
        from ..replay.engine import ReplayEngine, ReplayOptions

        return ReplayEngine(build_options(ReplayOptions, own))
    if kind == "openvino":
        try:
            from ..openvino.engine import OpenVinoEngine, OpenVinoOptions
        except ImportError as error:
            remedy = "pip install 'qwen-triton[openvino]'"
            raise ConfigurationError(f"engine: openvino cannot be loaded ({error}); {remedy}") from error

        return OpenVinoEngine(build_options(OpenVinoOptions, own))
    raise ConfigurationError(f"engine: expected openvino or replay, got {kind!r}")


_Options = TypeVar("_Options")


def build_options(kind: type[_Options], given: dict[str, Any]) -> _Options:
    """A dataclass of options from plain data; lists become tuples. An unknown key is refused with the known ones."""
    known = {f.name for f in fields(cast(Any, kind))}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(f"engine.{unknown[0]}: unknown option; known are {', '.join(sorted(known))}")
    return kind(**{k: _frozen(v) for k, v in given.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m qwen_triton.engines.process.main", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--owner-pid", type=int)
    parser.add_argument("--options", required=True, type=json.loads)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="qwen-triton engine: %(message)s")
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


if __name__ == "__main__":
    sys.exit(main())
