"""Load test of the link to NVIDIA's backend: python -m tests.tools.soak_link --requests 100000

Five hundred clients at once send requests to the BLS, which sends them to the stand-in of NVIDIA's backend over the
server's own gRPC; every answer's text and end are checked. Prints requests, faults by kind, seconds; exits 1 on a fault
or a dead server.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from qwen_triton.tensors.contract import BLS
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.fetch_qwen import fetch
from tests.support.live.crowd import Grpc, together
from tests.support.live.standin import serving_standin
from tests.support.live.texts import random_ids


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.soak_link",
        description="many requests over the link to NVIDIA's backend, every answer checked",
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--callers", type=int, default=500, help="requests at once")
    parser.add_argument("--tokens", type=int, default=4, help="most tokens of an answer")
    options = parser.parse_args()
    folder = fetch() / "qwen2.5"
    tokenizer = Tokenizer.from_folder(folder)
    streams, faults, done, started = random_ids(tokenizer, 1, options.tokens), Counter[str](), 0, time.monotonic()
    with (
        tempfile.TemporaryDirectory() as work,
        serving_standin(folder, Path(work), step_ms=5.0) as standin,
    ):
        while done < options.requests:
            batch = list(islice(streams, options.callers))
            sent = [{"input_ids": i, "max_tokens": len(i), "ignore_eos": True, "stream": True} for i in batch]
            for ids, received in zip(batch, together([Grpc(standin.server, BLS, a) for a in sent]), strict=True):
                right = received.text == tokenizer.decode(ids) and received.ends == 1
                faults[received.error or ("right" if right else "mismatch")] += 1
            done += len(batch)
            print(f"\r{done} requests, {done - faults['right']} faults", end="", file=sys.stderr, flush=True)
    print(f"\nrequests {done}, answers {dict(faults)}, {time.monotonic() - started:.0f} s")
    return int(faults["right"] != done)


if __name__ == "__main__":
    sys.exit(main())
