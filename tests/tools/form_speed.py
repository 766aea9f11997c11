"""Tokens per second of the openvino engine with a form of the answer and without, 16 sequences at once.

    python -m tests.tools.form_speed [CHECKPOINT] [--rounds N]

Both answers have as many tokens. Each round has both, in turns with the other first, and its share is that of the two, so that
the machine's other load meets both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

from qwen_triton.chat.forms.compile import FormBounds
from qwen_triton.engines.capabilities import FormGrammars
from qwen_triton.engines.openvino.engine import OpenVinoEngine
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, Form, SamplingParams

AT_ONCE, TOKENS = 16, 256
_PERSON = {"name": {"type": "string"}, "age": {"type": "integer"}}
_SCHEMA = {
    "type": "array",
    "minItems": 200,
    "items": {"type": "object", "properties": _PERSON, "required": ["name", "age"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.form_speed", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, default=Path("demo/checkpoint"))
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_folder(options.checkpoint)
    engine = OpenVinoEngine(OpenVinoOptions(model=str(options.checkpoint), cache_gib=0.5))
    prompt = tuple(tokenizer.encode("List the people as JSON: "))
    sampling = SamplingParams(max_tokens=TOKENS, temperature=1.0, seed=1)
    form = Form("json_schema", json.dumps(_SCHEMA))
    request = EngineRequest(prompt, sampling, end_ids=tokenizer.end_ids)
    request = replace(request, grammar=FormGrammars(tokenizer, FormBounds()).grammar(form, request, engine.info))
    free = EngineRequest(prompt, sampling)
    _rate(engine, request, 0), _rate(engine, free, AT_ONCE)  # compiles and warms up
    pairs = []
    for turn in range(1, options.rounds + 1):
        begun = 2 * turn * AT_ONCE
        if turn % 2:
            with_form, without = _rate(engine, request, begun), _rate(engine, free, begun + AT_ONCE)
        else:
            without, with_form = _rate(engine, free, begun), _rate(engine, request, begun + AT_ONCE)
        pairs.append((with_form, without))
    shares = sorted(with_form / without for with_form, without in pairs)
    with_form, without = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    print(
        f"with a form {with_form:.0f} tokens/s, without {without:.0f}; of {len(pairs)} pairs the share is "
        f"{statistics.median(shares):.0%} (median; {shares[0]:.0%} to {shares[-1]:.0%})"
    )
    engine.close()


def _rate(engine: OpenVinoEngine, request: EngineRequest, first_key: int) -> float:
    """Tokens per second of 16 sequences at once, whose keys begin with `first_key`."""
    started, tokens = time.monotonic(), 0
    for key in range(first_key, first_key + AT_ONCE):
        engine.add(key, request)
    while (wait_s := engine.wait_s()) is not None:
        time.sleep(wait_s)
        tokens += sum(len(chunk.token_ids) for _, chunk in engine.step())
    return tokens / (time.monotonic() - started)


if __name__ == "__main__":
    main()
