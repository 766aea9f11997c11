"""`qwen-triton chat`: a conversation with the model behind a Triton server, in the terminal or from a pipe.

qwen-triton chat
qwen-triton chat "1+1=?" --system "Answer briefly." --temperature 0
printf '你好\\n再见\\n' | qwen-triton chat --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from qwen_triton.errors import QwenTritonError

from ..chat_answer import ChatAnswer, ChatResult
from ..session import Session
from .conversation import Conversation, read_tools
from .flags import add_parameter_flags, add_session_flags, read_parameters
from .input import QuestionLine
from .output import Terminal, summary
from .screen import ChatScreen
from .slash_commands import ChatState, EndOfChat, run_command

_NOT_IN_A_CHAT = ("n", "best_of", "beam_width", "echo", "accumulate", "prompt_format", "length_penalty")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Ctrl-C cancels the answer and the chat goes on; Ctrl-D ends it; /help lists what else can be typed. "
        "From a pipe each line is a question."
    )
    parser.add_argument("message", nargs="?", help="ask this and leave; without it the chat begins")
    add_session_flags(parser)
    parser.add_argument("--system", default="", help="the system prompt")
    parser.add_argument("--load", type=Path, metavar="FILE", help="go on with a conversation that /save wrote")
    parser.add_argument("--tools", type=Path, metavar="FILE", help="tools the model may call: OpenAI's list, as JSON")
    parser.add_argument("--thinking", choices=("on", "off"), help="let the model think, where its template knows it")
    parser.add_argument(
        "--thinking-opened",
        action="store_true",
        help="the chat template opens the thinking itself; only the ensemble needs to be told",
    )
    parser.add_argument("--hide-thinking", action="store_true", help="say that it thinks, not what")
    parser.add_argument("--json", action="store_true", help="each answer as one JSON object on a line")
    add_parameter_flags(parser, _NOT_IN_A_CHAT)


def run(arguments: argparse.Namespace) -> int:
    state = ChatState(Conversation(arguments.system), read_parameters(arguments))
    if arguments.load:
        state.conversation.load(arguments.load)
        state.conversation.system = arguments.system or state.conversation.system
    state.tools = read_tools(arguments.tools) if arguments.tools else []
    if arguments.thinking:
        run_command(state, f"/think {arguments.thinking}")
    with Session(arguments.url, arguments.model) as session:
        return _Chat(session, state, arguments).run(arguments.message)


class _Chat:
    """One run of the command."""

    def __init__(self, session: Session, state: ChatState, arguments: argparse.Namespace) -> None:
        self._session = session
        self._state = state
        self._arguments = arguments
        self._out = Terminal(sys.stdout)
        self._notes = Terminal(sys.stderr)
        self._line = QuestionLine()

    def run(self, message: str | None) -> int:
        if message is not None:
            return 0 if self._ask(message) else 1
        name = self._session.model.name  # a server that is not there is told before the first question
        if self._line.interactive:
            self._notes.line(f"{name} at {self._arguments.url}; /help lists the commands, Ctrl-D leaves", "dim")
        answered = [self._take(line) for line in self._questions()]
        return 0 if all(answered) or self._line.interactive else 1

    def _questions(self) -> Iterator[str]:
        while True:
            if self._state.again:
                question, self._state.again = self._state.again, ""
            else:
                line = self._line.read("> ")
                if line is None:
                    return
                question = line
            if question.strip():
                yield question

    def _take(self, line: str) -> bool:
        """One line of a person: a command or a question. False when it failed; the chat goes on."""
        if not line.startswith("/"):
            return self._ask(line)
        try:
            self._notes.line(run_command(self._state, line), "dim")
        except EndOfChat:
            self._line.end()
        except QwenTritonError as error:
            self._notes.line(str(error), "error")
            return False
        return True

    def _ask(self, question: str) -> bool:
        conversation = self._state.conversation
        conversation.add_user(question)
        while (result := self._answer()) is not None:
            conversation.add_answer(result.message)
            called = result.finish_reason == "tool_calls"  # calls of an answer that was cut have no results
            if not (called and self._line.interactive and self._take_tool_results(result)):
                return True
        conversation.take_back()
        return False

    def _answer(self) -> ChatResult | None:
        """The answer to the conversation as it stands; None when the server refused it or failed."""
        started = time.monotonic()
        try:
            answer = self._session.stream_chat(
                self._state.conversation.messages,
                tools=self._state.tools,
                thinking_opened=self._arguments.thinking_opened,
                **self._state.parameters,
            )
            with answer:
                self._show(answer)
        except QwenTritonError as error:
            self._notes.line(str(error), "error")
            return None
        result = answer.result
        if self._arguments.json:
            self._out.line(json.dumps(asdict(result), ensure_ascii=False))
        elif self._notes.is_terminal:
            self._notes.line(summary(result.finish_reason, result.usage, time.monotonic() - started), "dim")
        return result

    def _show(self, answer: ChatAnswer) -> None:
        """Ctrl-C cancels the answer on the server; what has come stays in the conversation."""
        screen = ChatScreen(self._out, thinking=not self._arguments.hide_thinking)
        try:
            for delta in answer:
                if not self._arguments.json:
                    screen.show(delta)
        except KeyboardInterrupt:
            answer.cancel()
        if not self._arguments.json:
            screen.end()

    def _take_tool_results(self, result: ChatResult) -> bool:
        """What the called functions gave, asked of the person. False when one is left empty: back to questions."""
        for call in result.tool_calls:
            told = self._line.read(f"result of {call.name}> ")
            if not told:
                return False
            self._state.conversation.add_tool_result(call.name, told)
        return True
