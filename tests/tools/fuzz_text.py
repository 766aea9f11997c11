"""Compares streamed with one-shot decoding on random token streams, under random and all possible cuts.

    python -m tests.tools.fuzz_text --streams 1000000 [--seed N]

The unit tests do the same for 100,000 streams with a fixed seed; here the seed is random unless given, and printed.
Exit code 1 if any stream differs.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterable, Sequence
from time import perf_counter

from qwen_triton.text.detokenizer import Detokenizer
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.fetch_qwen import FAMILIES, fetch
from tests.support.random_streams import RandomStreams, all_cuts


def differences(
    tokenizer: Tokenizer, streams: RandomStreams, ids: list[int], skip: bool
) -> list[Sequence[Sequence[int]]]:
    """The cuts of one stream whose texts, concatenated, differ from its one-shot decode."""
    whole = tokenizer.decode(ids, skip)
    cuts = [list(streams.cut(ids)), *(all_cuts(ids) if len(ids) <= 4 else ())]
    return [cut for cut in cuts if joined(tokenizer, cut, skip) != whole]


def joined(tokenizer: Tokenizer, chunks: Iterable[Sequence[int]], skip: bool) -> str:
    """The texts of one cut, concatenated."""
    detokenizer = Detokenizer(tokenizer, skip)
    return "".join([detokenizer.feed(ids) for ids in chunks] + [detokenizer.flush()])


def main() -> int:
    """Runs the command line. Returns the exit code, 1 if anything differed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.fuzz_text", description="compare streamed with one-shot decoding"
    )
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    wrong, start = 0, perf_counter()
    for family in FAMILIES:
        tokenizer = Tokenizer.from_folder(fetch() / family.name)
        streams = RandomStreams(tokenizer, options.seed)
        for number in range(options.streams // len(FAMILIES)):
            ids = streams.stream()
            for cut in differences(tokenizer, streams, ids, bool(number % 2)):
                wrong += 1
                print(f"{family.name}: {cut}")
    seconds = perf_counter() - start
    print(f"seed {options.seed}: {options.streams} streams, {wrong} differences, {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
