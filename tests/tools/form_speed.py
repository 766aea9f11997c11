"""Tokens per second of the openvino engine with a form of the answer and without, 16 sequences at once.

    python -m tests.tools.form_speed [CHECKPOINT] [--rounds N]

Both answers have as many tokens, and rounds of both take turns, so that the machine's other load meets both. Prints the share.
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    rates: dict[str, list[float]] = {"with": [], "without": []}
    key = 0
    for turn in range(options.rounds + 1):
        for name, one in (("with", request), ("without", free)):
            started, tokens = time.monotonic(), 0
            for _ in range(AT_ONCE):
                key += 1
                engine.add(key, one)
            while engine.wait_s() == 0:
                tokens += sum(len(chunk.token_ids) for _, chunk in engine.step())
            if turn:  # the first compiles and warms up
                rates[name].append(tokens / (time.monotonic() - started))
    with_form, without = (statistics.median(rates[name]) for name in ("with", "without"))
    print(f"with a form {with_form:.0f} tokens/s, without {without:.0f}: {with_form / without:.0%}")


if __name__ == "__main__":
    main()
