"""`qwen-triton generate`: one text to any text model of Triton, ours or stock's; the answer as it comes.

qwen-triton generate "你好，你叫什么名字" --max-tokens 50
echo "Once upon a time" | qwen-triton generate --url http://localhost:8000 --model ensemble --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from qwen_triton.errors import InvalidRequest

from ..session import Session
from ..text_answer import TextAnswer, TextResult
from .flags import add_parameter_flags, add_session_flags, read_parameters
from .output import Terminal, summary

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Ctrl-C cancels the answer on the server and keeps what came. Example: %(prog)s 'Once upon a time'"
    parser.add_argument("prompt", nargs="?", default="-", help="the text; - or nothing: read it from standard input")
    add_session_flags(parser)
    parser.add_argument("--no-stream", action="store_true", help="wait for the whole answer")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each answer, when it is whole")
    add_parameter_flags(parser, without=("accumulate",))


def run(arguments: argparse.Namespace) -> int:
    parameters = read_parameters(arguments)
    prompt = _read_prompt(arguments.prompt)
    out = Terminal(sys.stdout)
    with Session(arguments.url, arguments.model) as session:
        if arguments.json or arguments.no_stream or parameters.get("n", 1) > 1 or parameters.get("beam_width", 1) > 1:
            return _whole(session, prompt, parameters, out, as_json=arguments.json)
        return _streamed(session.stream(prompt, **parameters), out)


def _read_prompt(given: str) -> str:
    if given != "-":
        return given
    if sys.stdin.isatty():
        print("the prompt, ended with Ctrl-D:", file=sys.stderr)
    text = sys.stdin.read().removesuffix("\n")
    if not text:
        raise InvalidRequest("is empty; give it as an argument or on standard input", "prompt")
    return text


def _streamed(answer: TextAnswer, out: Terminal) -> int:
    started, code = time.monotonic(), 0
    with answer:
        try:
            for text in answer:
                out.write(text)
        except KeyboardInterrupt:
            answer.cancel()
            code = _INTERRUPTED
    out.line()
    _tell_end(answer.result, time.monotonic() - started)
    return code


def _whole(session: Session, prompt: str, parameters: Mapping[str, Any], out: Terminal, *, as_json: bool) -> int:
    started = time.monotonic()
    try:
        results = session.generate_all(prompt, **parameters)
    except KeyboardInterrupt:
        return _INTERRUPTED
    for number, result in enumerate(results, 1):
        if as_json:
            out.line(json.dumps(asdict(result), ensure_ascii=False))
            continue
        if len(results) > 1:
            out.line(f"--- {number}", "dim")
        out.line(result.text)
    if not as_json:
        _tell_end(results[0], time.monotonic() - started)
    return 0


def _tell_end(result: TextResult, seconds: float) -> None:
    """For a person: not in a pipe."""
    if sys.stderr.isatty():
        Terminal(sys.stderr).line(summary(result.finish_reason, result.usage, seconds), "dim")
