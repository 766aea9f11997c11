"""The chat command's parts without a server: history, commands, flags, what the terminal is sent."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import Usage
from qwen_triton_client.chat_answer import ChatResult, ToolCall
from qwen_triton_client.parameters import PARAMETERS
from qwen_triton_client.terminal.conversation import Conversation
from qwen_triton_client.terminal.flags import add_parameter_flags, read_parameters, set_parameter
from qwen_triton_client.terminal.output import Terminal, summary
from qwen_triton_client.terminal.screen import ChatScreen
from qwen_triton_client.terminal.slash_commands import COMMANDS, ChatState, EndOfChat, run_command


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def talked() -> ChatState:
    state = ChatState(Conversation("be brief"))
    state.conversation.add_user("one")
    state.conversation.add_answer({"role": "assistant", "content": "1"})
    state.conversation.add_user("two")
    state.conversation.add_answer({"role": "assistant", "content": "2"})
    return state


def test_undo_and_retry_take_back_one_question() -> None:
    """With everything behind it; retry asks it again."""
    state = talked()
    assert run_command(state, "/undo") == "took back: two"
    assert [m["content"] for m in state.conversation.messages] == ["be brief", "one", "1"]
    run_command(state, "/retry")
    assert state.again == "one"
    assert run_command(state, "/undo") == "nothing to take back"


def test_clear_keeps_the_system_prompt_and_system_changes_it() -> None:
    """The system prompt stands apart from the turns."""
    state = talked()
    run_command(state, "/clear")
    assert state.conversation.messages == [{"role": "system", "content": "be brief"}]
    run_command(state, "/system talk like a pirate")
    assert run_command(state, "/system") == "talk like a pirate"
    run_command(state, "/system none")
    assert state.conversation.messages == []


def test_a_saved_conversation_is_loaded_as_it_was(tmp_path: Path) -> None:
    """System prompt and turns; a file that holds none is refused with its name."""
    state, other, file = talked(), ChatState(Conversation("x")), tmp_path / "chat.json"
    run_command(state, f"/save {file}")
    assert run_command(other, f"/load {file}") == "5 messages"
    assert (other.conversation.system, other.conversation.messages) == ("be brief", state.conversation.messages)
    file.write_text("{")
    with pytest.raises(InvalidRequest, match=r"chat\.json: is not JSON"):
        run_command(other, f"/load {file}")
    with pytest.raises(InvalidRequest, match="nowhere: cannot be read: No such file"):
        run_command(other, "/load nowhere")


def test_set_shows_changes_and_takes_away() -> None:
    """Values have their parameter's type; a wrong name or value is told."""
    state = talked()
    assert run_command(state, "/set temperature=0.5") == "temperature=0.5"
    assert run_command(state, "/set stop END") == "temperature=0.5, stop=['END']"
    run_command(state, "/set temperature none")
    assert state.parameters == {"stop": ["END"]}
    for line, message in (
        ("/set tempo 3", "tempo: no such parameter"),
        ("/set top_k many", "top_k: invalid literal"),
        ("/set top_k", "top_k: write /set NAME VALUE"),
        ("/nonsense", "/nonsense: no such command; /help lists them"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            run_command(state, line)


def test_think_and_tools(tmp_path: Path) -> None:
    """Thinking is an option of the chat template; tools are read and checked."""
    state, file = talked(), tmp_path / "tools.json"
    run_command(state, "/think off")
    assert state.parameters["chat_template_kwargs"] == {"enable_thinking": False}
    file.write_text(json.dumps({"type": "function", "function": {"name": "f"}}))
    assert run_command(state, f"/tools {file}") == "1 tools"
    assert run_command(state, "/tools none") == "0 tools"
    file.write_text('[{"type": "function"}]')
    with pytest.raises(InvalidRequest, match=r"tools\[0\]"):
        run_command(state, f"/tools {file}")


def test_help_names_every_command() -> None:
    """In the order of the table; exit ends the chat."""
    lines = run_command(talked(), "/help").splitlines()
    assert [line.split()[0][1:] for line in lines] == list(COMMANDS)
    with pytest.raises(EndOfChat):
        run_command(talked(), "/exit")


def test_every_parameter_is_a_flag() -> None:
    """Named as the parameter, read back with its type."""
    parser = argparse.ArgumentParser()
    add_parameter_flags(parser)
    line: list[str] = []
    for parameter in PARAMETERS:
        value = {bool: None, dict: '{"1": 2}', str: "a"}.get(parameter.kind, "1")
        line += ["--" + parameter.name.replace("_", "-"), *([value] if value else [])]
    given = read_parameters(parser.parse_args(line))
    assert set(given) == {p.name for p in PARAMETERS}
    assert (given["temperature"], given["stop"], given["ignore_eos"], given["logit_bias"]) == (
        1.0,
        ["a"],
        True,
        {"1": 2},
    )
    assert read_parameters(parser.parse_args([])) == {}
    assert read_parameters(parser.parse_args(["--no-parallel-tool-calls"])) == {"parallel_tool_calls": False}


def test_the_screen_sets_parts_apart() -> None:
    """Thinking, content and each call on lines of their own; no style outside a terminal."""
    deltas: list[Delta] = [
        Reasoning("hm"),
        Content("ok"),
        *(ToolCallStart(0, "f"), ToolCallArguments(0, "{}")),
        *(ToolCallStart(1, "g"), ToolCallArguments(1, "{}")),
    ]
    out = io.StringIO()
    screen = ChatScreen(Terminal(out))
    for delta in deltas:
        screen.show(delta)
    screen.end()
    assert out.getvalue() == "hm\n\nok\n→ f {}\n→ g {}\n"


def test_hidden_thinking_is_noted_once() -> None:
    """Whatever its length."""
    out = io.StringIO()
    screen = ChatScreen(Terminal(out), thinking=False)
    for delta in (Reasoning("a"), Reasoning("b"), Content("ok")):
        screen.show(delta)
    assert out.getvalue() == "thinking…\nok"


def test_an_answer_cannot_command_the_terminal() -> None:
    """Escape sequences of a model's text are taken out; a pipe gets the text as it is."""
    evil = "a\x1b[2Jb\x07c\td\n"
    screen, pipe = Screen(), io.StringIO()
    Terminal(screen).write(evil)
    Terminal(pipe).write(evil)
    assert (screen.getvalue(), pipe.getvalue()) == ("a[2Jbc\td\n", evil)


def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """no-color.org."""
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    Terminal(screen).write("x", "dim")
    assert screen.getvalue() == "x"


def test_the_message_of_an_answer_goes_back_to_the_model() -> None:
    """Content, thinking and calls, as chat messages hold them."""
    result = ChatResult("ok", "hm", (ToolCall("f", '{"a":1}'),), "tool_calls", None)
    assert result.message == {
        "role": "assistant",
        "content": "ok",
        "reasoning_content": "hm",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    assert ChatResult("ok", "", (), "stop", None).message == {"role": "assistant", "content": "ok"}


def test_the_summary_says_what_is_known() -> None:
    """Nothing made up where a model tells neither end nor usage."""
    assert summary("stop", Usage(10, 20, 5), 2.0) == "[stop, 10 (5 cached) + 20 tokens, 10 tokens/s, 2.0 s]"
    assert summary(None, None, 1.0) == "[ended, 1.0 s]"


def test_a_flag_of_the_table_can_be_set_from_text() -> None:
    """As /set does it, for each kind."""
    parameters: dict[str, object] = {}
    for name, text in (("ignore_eos", "yes"), ("top_k", "3"), ("logit_bias", '{"5": 1}'), ("stop", "x")):
        set_parameter(parameters, name, text)
    assert parameters == {"ignore_eos": True, "top_k": 3, "logit_bias": {"5": 1}, "stop": ["x"]}
    with pytest.raises(InvalidRequest, match="logit_bias: expected a JSON object"):
        set_parameter(parameters, "logit_bias", "[1]")
