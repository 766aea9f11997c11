"""Session, `qwen-triton generate` and `qwen-triton chat` against real servers: ours by every way in, and stock's."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.chat.deltas import Content, Reasoning, ToolCallStart
from qwen_triton.errors import EngineError, InvalidRequest
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import Usage
from qwen_triton_build.deployment.schema import Server
from qwen_triton_client import Session
from tests.live.conftest import Serve
from tests.support.interrupts import interruptible_children
from tests.support.live.servers import LiveServer
from tests.support.live.stock_repository import stock_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

THINKING, CONTENT = "用户在打招呼。", "Hello! 你好 👋"
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
SCRIPT = f"<think>\n{THINKING}\n</think>\n\n{CONTENT} {CALL}"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
ASKED = [{"role": "user", "content": "hi"}]
WAYS = [("grpc", "tensorrt_llm_bls"), ("grpc", "ensemble"), ("http", "tensorrt_llm_bls"), ("http", "ensemble")]


@pytest.fixture(scope="module")
def server(serve: Serve, qwen3: Tokenizer, qwen3_folder: Path) -> LiveServer:
    """Every answer is SCRIPT, a token each 20 ms."""
    engine = {"kind": "replay", "mode": "scripts", "step_ms": 20.0, "max_context": 40_960}
    scripts = {"scripts": [list(qwen3.encode(SCRIPT))]}
    return serve({"model": str(qwen3_folder), "engine": engine | scripts})


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with stock_server(tmp_path_factory.mktemp("stock")) as settings:
        yield settings


def url(server: LiveServer, way: str) -> str:
    return server.grpc if way == "grpc" else f"http://{server.http}"


def wait_until(holds: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qwen_triton_build.cli", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("way", "model"), WAYS)
def test_every_way_in_gives_the_same_answer(server: LiveServer, qwen3: Tokenizer, way: str, model: str) -> None:
    """Whole, streamed and as a chat, over gRPC and HTTP, by BLS and ensemble: exact text, end and usage."""
    tokens = len(qwen3.encode(SCRIPT)) + 1
    with Session(url(server, way), model) as session:
        whole = session.generate("hi")
        assert (whole.text, whole.finish_reason, whole.usage) == (SCRIPT, "stop", Usage(1, tokens))
        with session.stream("hi") as answer:
            pieces = list(answer)
        assert "".join(pieces) == SCRIPT
        assert len(pieces) > 5
        assert answer.result == whole
        cut = session.generate("hi", max_tokens=3, seed=5, stop=["never"])
        assert (cut.finish_reason, cut.usage) == ("length", Usage(1, 3))
        chat = session.chat(ASKED, tools=TOOLS)
        assert (chat.reasoning, chat.content, chat.finish_reason) == (THINKING, CONTENT, "tool_calls")
        assert [(c.name, json.loads(c.arguments)) for c in chat.tool_calls] == [("get_weather", {"city": "北京"})]
        with session.stream_chat([*ASKED, chat.message], tools=TOOLS) as deltas:
            kinds = [type(d) for d in deltas]
        assert {Reasoning, Content, ToolCallStart} <= set(kinds)
        assert (deltas.result.content, deltas.result.tool_calls) == (chat.content, chat.tool_calls)


@pytest.mark.parametrize(("way", "model"), WAYS)
def test_errors_are_told_as_what_they_are(server: LiveServer, way: str, model: str) -> None:
    """The server's refusal of a request reaches the caller as InvalidRequest with the field's name, streamed or not."""
    with Session(url(server, way), model) as session:
        for stream in (False, True):
            with pytest.raises(InvalidRequest, match="max_tokens: 100000 is too large"):
                session.send(_request("hi", stream)).finish()
    with Session(url(server, way), "nothing") as session, pytest.raises(InvalidRequest, match="nothing"):
        session.generate("hi")


def _request(prompt: str, stream: bool) -> Any:
    from qwen_triton_client.parameters import build_request

    return build_request({"max_tokens": 100_000}, prompt=prompt, stream=stream)


@pytest.mark.parametrize(("way", "model"), WAYS)
def test_cancel_frees_the_engine(server: LiveServer, way: str, model: str) -> None:
    """Leaving the block is enough; the text so far is kept."""
    with Session(url(server, way), model) as session:
        with session.stream("hi", ignore_eos=True, max_tokens=5000) as answer:
            for _ in answer:
                assert server.engine_counters()["running"] == 1
                break
        assert answer.result.finish_reason == "cancelled"
        assert answer.result.text
        assert SCRIPT.startswith(answer.result.text)
        wait_until(lambda: server.engine_counters()["running"] == 0, "the engine still generates")


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_several_answers_and_log_probs(server: LiveServer, way: str) -> None:
    """n answers keep apart, each a response of its own; log probs are OpenAI's, one for each token."""
    with Session(server.grpc if way == "grpc" else f"http://{server.http}") as session:
        results = session.generate_all("hi", n=2, top_k=5, logprobs=1)
        assert [r.text for r in results] == [SCRIPT, SCRIPT]
        tokens = results[0].logprobs
        assert b"".join(bytes(t["bytes"]) for t in tokens).decode() == SCRIPT
        assert [len(t["top_logprobs"]) for t in tokens] == [1] * len(tokens)


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_a_stock_model_is_served_as_far_as_it_goes(stock: Server, way: str) -> None:
    """Text in and out under stock's names; end and usage unknown; what it cannot take refused, not dropped."""
    address = f"127.0.0.1:{stock.grpc_port}" if way == "grpc" else f"http://127.0.0.1:{stock.http_port}"
    with Session(address) as session:
        whole = session.generate("one two three", max_tokens=2)
        assert (whole.text, whole.finish_reason, whole.usage) == ("one two", None, None)
        with session.stream("one two three", max_tokens=9) as answer:
            assert list(answer) == ["one", " two", " three"]
        sent = session.generate("inputs", max_tokens=9, seed=7, temperature=0.5)
        assert sent.text == "max_tokens=9 random_seed=7 temperature=0.5 text_input=b'inputs'"
        for given, name in (({"min_p": 0.1}, "min_p"), ({"stop_token_ids": [3]}, "stop_token_ids")):
            with pytest.raises(InvalidRequest, match=f"{name}: model ensemble has no such input"):
                session.generate("x", max_tokens=2, **given)
        with pytest.raises(InvalidRequest, match="max_tokens: model ensemble cannot do without it"):
            session.generate("x")
        with pytest.raises(InvalidRequest, match="messages: this model takes text only"):
            session.chat(ASKED, max_tokens=2)


def test_generate_prints_the_answer(server: LiveServer, stock: Server) -> None:
    """Text as it is, JSON as one object a line, and one line for an error."""
    assert run("generate", "hi", "--url", server.grpc).stdout == SCRIPT + "\n"
    told = run("generate", "--url", f"http://{server.http}", "--model", "ensemble", "--json", given="hi\n")
    assert json.loads(told.stdout)["text"] == SCRIPT
    assert run("generate", "a b", "--max-tokens", "9", "--url", f"127.0.0.1:{stock.grpc_port}").stdout == "a b\n"
    refused = run("generate", "hi", "--url", server.grpc, "--temperature", "-1")
    assert (refused.returncode, refused.stderr) == (2, "qwen-triton: temperature: must be in [0, 100], got -1\n")


def test_generate_ends_at_ctrl_c_and_cancels(server: LiveServer) -> None:
    """What came stays printed, exit code 130, the engine is free."""
    command = [sys.executable, "-m", "qwen_triton_build.cli", "generate", "hi", "--url", server.grpc]
    flags = ["--ignore-eos", "--max-tokens", "5000"]
    with interruptible_children():
        process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.read(7) == "<think>"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert (SCRIPT * 20).startswith(process.stdout.read().removesuffix("\n")[:0])
    wait_until(lambda: server.engine_counters()["running"] == 0, "the engine still generates")


def test_chat_from_a_pipe(server: LiveServer) -> None:
    """Each line is a question of one conversation: the second prompt holds the first answer."""
    told = run("chat", "--url", server.grpc, "--json", given="hi\nagain\n")
    first, second = (json.loads(line) for line in told.stdout.splitlines())
    assert first["reasoning"] == THINKING
    assert first["content"] == f"{CONTENT} {CALL}"
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"] + 20
    failed = run("chat", "hi", "--url", server.grpc, "--max-tokens", "100000")
    assert failed.returncode == 1
    assert failed.stderr.startswith("max_tokens: 100000 is too large")


class _Terminal:
    """`qwen-triton chat` on a terminal of its own."""

    def __init__(self, *arguments: str, state: Path) -> None:
        command = [sys.executable, "-m", "qwen_triton_build.cli", "chat", *arguments]
        environment = os.environ | {"TERM": "xterm", "XDG_STATE_HOME": str(state)}
        with interruptible_children():
            self.pid, self._terminal = pty.fork()
            if self.pid == 0:
                os.execvpe(command[0], command, environment)
        self._read, self._seen = b"", 0

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Reads on until the text stands behind what was waited for before."""
        ends = time.monotonic() + 30
        while (at := self._read.find(text.encode(), self._seen)) < 0:
            assert time.monotonic() < ends, f"{text!r} not in {self._read[self._seen :]!r}"
            if select.select([self._terminal], [], [], 0.5)[0]:
                self._read += os.read(self._terminal, 65536)
        self._seen = at + len(text.encode())

    @property
    def shown(self) -> str:
        return self._read.decode("utf-8", "ignore")

    def exit_code(self) -> int:
        ends = time.monotonic() + 30
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > ends:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        return os.waitstatus_to_exitcode(ended[1])


def test_chat_in_a_terminal(server: LiveServer, tmp_path: Path) -> None:
    """Thinking is dimmed, Ctrl-C ends the answer and not the chat, commands work, /exit leaves with 0."""
    chat = _Terminal("--url", server.grpc, state=tmp_path)
    chat.wait_for("/help lists the commands")
    chat.type("hi\r")
    chat.wait_for(f"\x1b[2m{THINKING[:2]}")
    chat.wait_for("[stop, ")
    chat.type("/set max_tokens 4000\r")
    chat.wait_for("max_tokens=4000")
    chat.type("/set ignore_eos true\r")
    chat.wait_for("ignore_eos=True")
    chat.type("more\r")
    chat.wait_for("Hello!")
    chat.type("\x03")
    chat.wait_for("[cancelled, ")
    wait_until(lambda: server.engine_counters()["running"] == 0, "the engine still generates")
    chat.wait_for("> ")
    chat.type("half a line\x03")
    chat.wait_for("> ")
    chat.type("/undo\r")
    chat.wait_for("took back: more")
    file = tmp_path / "saved.json"
    chat.type(f"/save {file}\r")
    chat.wait_for("saved 2 messages")
    assert [m["role"] for m in json.loads(file.read_text())] == ["user", "assistant"]
    chat.type("/exit\r")
    assert chat.exit_code() == 0
    assert "hi" in (tmp_path / "qwen-triton" / "chat_history").read_text()


def test_chat_asks_for_what_a_called_tool_gave(server: LiveServer, tmp_path: Path) -> None:
    """The call is shown, its result is asked of the person and goes back to the model."""
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(TOOLS))
    chat = _Terminal("--url", server.grpc, "--tools", str(tools), "--hide-thinking", state=tmp_path)
    chat.type("hi\r")
    chat.wait_for("thinking…")
    chat.wait_for("→ get_weather ")
    chat.wait_for("[tool_calls, ")
    chat.wait_for("result of get_weather> ")
    chat.type("sunny\r")
    chat.wait_for("[tool_calls, ")
    chat.wait_for("result of get_weather> ")
    chat.type("\r")
    chat.wait_for("> ")
    chat.type("/exit\r")
    assert chat.exit_code() == 0
    assert THINKING not in chat.shown


def test_an_engine_s_failure_is_no_fault_of_the_request(serve: Serve, qwen3_folder: Path) -> None:
    """Streamed over HTTP, where Triton has sent 200 long before."""
    engine = {"kind": "replay", "fail_after": 2}
    server = serve({"model": str(qwen3_folder), "engine": engine})
    for way in ("grpc", "http"):
        with Session(url(server, way)) as session, pytest.raises(EngineError, match="internal error"):
            session.stream("one two three four five", max_tokens=20).finish()


def test_refused_requests_leave_the_server_standing(server: LiveServer) -> None:
    """Each on a connection of its own: the server once ended with a fault when such a connection was closed."""
    for number in range(60):
        with Session(server.grpc) as session, pytest.raises(InvalidRequest, match="too large"):
            session.send(_request("hi", stream=bool(number % 2))).finish()
    with Session(server.grpc) as session:
        assert session.generate("hi", max_tokens=2).finish_reason == "length"
