"""Compares streamed with whole answers of the shim, for random texts of the model, requests, cuts and ends.

    python -m tests.tools.fuzz_answers [--examples 20000] [--seed N]

The unit tests do the same for some hundred. Chat completions and responses are put together by OpenAI's own package. The
seed is random unless given, and printed. A difference ends the run with a traceback and the smallest example found.
"""

from __future__ import annotations

import argparse
import secrets
from time import perf_counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from qwen_triton.text.tokenizer import Tokenizer
from tests.openai.answers.test_chat_writer import check
from tests.openai.answers.test_response_writer import check as check_response
from tests.support.fetch_qwen import fetch
from tests.support.two_ways import AnswerCase, TwoWays, answer_cases, comparable


def main() -> None:
    """Runs the command line: of five examples three are chats, one a text completion, one a response."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.fuzz_answers", description="compare streamed with whole answers"
    )
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    tokenizer, start = Tokenizer.from_folder(fetch() / "qwen3"), perf_counter()
    chats, texts = TwoWays(tokenizer), TwoWays(tokenizer, chat=False)
    shown = {"phases": (Phase.generate, Phase.shrink), "deadline": None, "database": None}

    @seed(options.seed)
    @settings(max_examples=options.examples * 3 // 5, suppress_health_check=list(HealthCheck), **shown)
    @given(answer_cases())
    def chat(request: AnswerCase) -> None:
        check(chats, request)

    @seed(options.seed)
    @settings(max_examples=options.examples // 5, suppress_health_check=list(HealthCheck), **shown)
    @given(answer_cases())
    def text(request: AnswerCase) -> None:
        assert comparable(texts.streamed(request)) == comparable(texts.whole(request)), request

    @seed(options.seed)
    @settings(max_examples=options.examples // 5, suppress_health_check=list(HealthCheck), **shown)
    @given(answer_cases())
    def response(request: AnswerCase) -> None:
        check_response(chats, request)

    print(f"seed {options.seed}", flush=True)
    chat()
    text()
    response()
    print(f"{options.examples} answers, each whole and streamed: all the same, {perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
