"""A Qwen3 that always thinks, says and calls the same, and a shim in front of it: for clients that show all three."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.servers import LiveServer
from tests.support.live.shims import LiveShim, shimming

THINKING = "Which city? 北京 🌆"
TEXT = "Let me see."
CALLS = [("get_weather", {"city": "北京"}), ("get_weather", {"city": "Paris", "days": [1, 2]})]
SAID = f"<think>\n{THINKING}\n</think>\n\n{TEXT}" + "".join(
    f"\n<tool_call>\n{json.dumps({'name': n, 'arguments': a}, ensure_ascii=False)}\n</tool_call>" for n, a in CALLS
)


@contextmanager
def thinking_shim(
    serve: Callable[[Mapping[str, Any]], LiveServer], model: Path, tokenizer: Tokenizer, folder: Path
) -> Iterator[LiveShim]:
    """`model`: a checkpoint's folder, `tokenizer` its own; `folder`: an empty one for the shim's log."""
    engine = {"kind": "replay", "mode": "scripts", "scripts": [tokenizer.encode(SAID)], "step_ms": 1.0}
    with shimming(serve({"model": str(model), "engine": engine}), folder) as shim:
        yield shim
