"""Asks the demo for every schema of the tests' table, at temperature 1, and validates each answer.

    python -m tests.tools.form_table [--seeds N] [--only NAME …]
    python -m tests.tools.form_table --url http://127.0.0.1:9000/v1      # of a server, each whole and as a stream

An answer that ends by itself must be an instance. One that is cut by its length is counted apart: the demo is a small model,
which does not end every text that a schema leaves open. Exit code 1 for an answer that ended and is none.
"""

from __future__ import annotations

import argparse
import json
import sys

from qwen_triton.types import Form
from tests.support.folders import ROOT
from tests.support.form_answers import FormEngine, ServedForms, fault_of
from tests.support.form_schemas import SCHEMAS

QUESTION = "Answer in JSON. name Anna, age 31, city Paris"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.form_table", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=SCHEMAS, default=list(SCHEMAS), metavar="NAME")
    parser.add_argument("--url", help="ask this OpenAI server instead of the demo's engine")
    options = parser.parse_args()
    engine = ServedForms(options.url) if options.url else FormEngine(ROOT / "demo" / "checkpoint")
    ended = cut = wrong = 0
    for name in options.only:
        form = Form("json_schema", json.dumps(SCHEMAS[name]))
        answers = engine.answers(form, QUESTION, range(options.seeds))
        faults = [(text, fault_of(text, SCHEMAS[name])) for text, finish in answers if finish == "stop"]
        here = sum(finish != "stop" for _, finish in answers)
        ended, cut = ended + len(faults), cut + here
        for text, fault in faults:
            if fault:
                wrong += 1
                print(f"{name}: {fault}: {text!r}")
        if here:
            print(f"{name}: {here} of {len(answers)} cut by their length")
    print(f"{len(options.only)} schemas, {options.seeds} seeds: {ended} ended, {wrong} of them no instance; {cut} cut")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
