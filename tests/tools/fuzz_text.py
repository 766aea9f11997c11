"""Random streams against one-shot decode, as many as asked for: python -m tests.tools.fuzz_text --streams 1000000

What the tests do with 100,000 streams; here the seed is new each time, and it is printed.
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
    """The cuts of one stream that do not join to its one-shot decode."""
    whole = tokenizer.decode(ids, skip)
    cuts = [list(streams.cut(ids)), *(all_cuts(ids) if len(ids) <= 4 else ())]
    return [cut for cut in cuts if joined(tokenizer, cut, skip) != whole]


def joined(tokenizer: Tokenizer, chunks: Iterable[Sequence[int]], skip: bool) -> str:
    """The pieces of one cut, one after the other."""
    detokenizer = Detokenizer(tokenizer, skip)
    return "".join([detokenizer.feed(ids) for ids in chunks] + [detokenizer.flush()])


def main() -> int:
    """The command line; 1 if anything differed."""
    parser = argparse.ArgumentParser(description="compare streamed with one-shot decoding")
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
