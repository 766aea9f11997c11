"""Coding agents against the shim, each through one round of a tool: tests/tools/agent_clis.sh [AGENT…]

    python -m tests.tools.agent_clis qwen-code       # the same, where Node.js and npm are known to be there

An agent is asked for a word in a file. The replay engine, with a context of 128k tokens, plays the model: it calls the
agent's own tool that reads files, and then gives its last answer. An agent passes if it ends with 0, every request of it
was answered with 200, the file's word came back to the model as the tool's result, and it printed the last answer.
Agents are installed from npm in the versions given here, into .cache/; one in the style of Anthropic's clients is
tests/tools/messages_agent.py. A new agent is one more row of AGENTS. Objects of a schema by the AI SDK: tests/tools/ai_sdk.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.fetch_qwen import fetch
from tests.support.folders import ROOT
from tests.support.live.servers import LiveServer, serving
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.recording_proxy import Exchange, recording
from tests.tools import ai_sdk

INSTALL_S, RUN_S = 550.0, 180.0
CONTEXT = 131_072
WORD = "heron-4711"
LAST_ANSWER = "The word is in the file, 一只鹭."
SHOWN = 4000
"""Characters of an agent's own output that a failure shows, from its end."""


@dataclass(frozen=True)
class Run:
    """A command line with its environment, beside what every agent gets."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentCli:
    """An agent. `program`: its name in npm's folder of programs. `tool`, `path_argument`: how its model reads a file.
    `package`: its name in npm; without one its program is this Python.

    `prepare` writes its settings into its home and gives its command line; it gets the home, the URL that ends with /v1,
    and the question.
    """

    name: str
    package: str
    program: str
    tool: str
    path_argument: str
    prepare: Callable[[Path, str, str], Run]
    argument: str = "{file}"
    """What the tool gets for the file: its path, or a command that prints it."""

    def says(self, file: Path) -> list[str]:
        """The model's answers, one for each request."""
        call = {"name": self.tool, "arguments": {self.path_argument: self.argument.format(file=file)}}
        return [f"I read it.\n<tool_call>\n{json.dumps(call)}\n</tool_call>", LAST_ANSWER]


def _qwen_code(home: Path, url: str, question: str) -> Run:
    settings = {
        "security": {"auth": {"selectedType": "openai"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"disableAutoUpdate": True},
        "memory": {"enableManagedAutoMemory": False},  # else a second agent reads the conversation behind the first
    }
    _write(home / ".qwen" / "settings.json", settings)
    environment = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url, "OPENAI_MODEL": MODEL}
    return Run(["--auth-type", "openai", "--yolo", "-p", question], environment)


def _opencode(home: Path, url: str, question: str) -> Run:
    model = {"name": MODEL, "tool_call": True, "limit": {"context": CONTEXT, "output": 8192}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "shim",
        "options": {"baseURL": url, "apiKey": "none"},
        "models": {MODEL: model},
    }
    settings = {"provider": {"shim": provider}, "model": f"shim/{MODEL}", "autoupdate": False, "share": "disabled"}
    _write(home / ".config" / "opencode" / "opencode.json", settings)
    environment = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    return Run(
        ["run", "--model", f"shim/{MODEL}", "--title", "a word", question], environment
    )  # else it asks for a title


def _codex(home: Path, url: str, question: str) -> Run:
    settings = (
        f'model = "{MODEL}"\nmodel_provider = "shim"\nmodel_context_window = {CONTEXT}\nweb_search = "disabled"\n'
        f'[model_providers.shim]\nname = "shim"\nbase_url = "{url}"\nwire_api = "responses"\nenv_key = "SHIM_KEY"\n'
    )
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(settings)
    return Run(
        ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", question], {"SHIM_KEY": "none"}
    )  # its sandbox needs rights that containers do not have


def _messages_agent(home: Path, url: str, question: str) -> Run:
    environment = {"ANTHROPIC_BASE_URL": url.removesuffix("/v1"), "ANTHROPIC_API_KEY": "none", "PYTHONPATH": str(ROOT)}
    return Run(["-m", "tests.tools.messages_agent", MODEL, question], {"HOME": str(home), **environment})


def _write(file: Path, settings: Any) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(settings))


AGENTS = (
    AgentCli("qwen-code", "@qwen-code/qwen-code@0.24.4", "qwen", "read_file", "file_path", _qwen_code),
    AgentCli("codex", "@openai/codex@0.171.0", "codex", "exec_command", "cmd", _codex, "cat {file}"),
    AgentCli("messages-agent", "", "python", "read_file", "path", _messages_agent),
    AgentCli("opencode", "opencode-ai@1.18.33", "opencode", "read", "filePath", _opencode),
)


def installed(agent: AgentCli) -> Path:
    """The agent's program, installed where it is not yet. Raises RuntimeError with npm's words."""
    if not agent.package:
        return Path(sys.executable)
    home = ROOT / ".cache" / "agents" / agent.package.replace("/", "-")
    program = home / "node_modules" / ".bin" / agent.program
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        print(f"{agent.name}: installing {agent.package}", flush=True)
        line = ["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "--save-exact", agent.package]
        made = subprocess.run(line, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if made.returncode or not program.exists():
            raise RuntimeError(f"npm install {agent.package} failed: {(made.stdout + made.stderr)[-SHOWN:]}")
        (home / "complete").touch()
    return program


def fault(file: Path, exchanges: Sequence[Exchange], ended: int, printed: str) -> str:
    """What an agent did wrong; empty if nothing."""
    asked = [exchange for exchange in exchanges if exchange.method == "POST"]
    refused = [f"{e.status} to {e.path}: {e.answer[:500]}" for e in asked if e.status != 200]
    if refused:
        return f"it was refused: {refused[0]}"
    if len(asked) < 2:
        return f"it asked {len(asked)} times, not twice"
    first, second = (json.dumps(exchange.body) for exchange in asked[:2])
    if WORD in first or WORD not in second:
        return f"it did not send what {file.name} says as the result of its tool"
    if LAST_ANSWER not in printed:
        return "it did not print the last answer"
    return f"it ended with {ended}" if ended else ""


def shown(exchange: Exchange) -> str:
    """A request in one line: its path, status, messages, tools, and the names of its other parameters."""
    body = exchange.body if isinstance(exchange.body, dict) else {}
    counts = {name: len(body[name]) for name in ("messages", "input", "tools") if isinstance(body.get(name), list)}
    counted = ", ".join(f"{count} {name}" for name, count in counts.items())
    rest = ", ".join(sorted(body.keys() - counts.keys()))
    return f"{exchange.method} {exchange.path} {exchange.status}: {counted}; {rest}"


def run(agent: AgentCli, tokenizer: Tokenizer, checkpoint: Path) -> bool:
    """Whether the agent did it; prints how it went."""
    program = installed(agent)
    with tempfile.TemporaryDirectory() as folder:
        home, room, server_folder, shim_folder = (Path(folder, n) for n in ("home", "room", "server", "shim"))
        for path in (home, room, server_folder, shim_folder):
            path.mkdir()
        file = room / "notes.txt"
        file.write_text(f"The word is {WORD}.\n")
        scripts = [tokenizer.encode(text) for text in agent.says(file)]
        engine = {
            "kind": "replay",
            "mode": "scripts",
            "scripts": scripts,
            "step_ms": 1.0,
            "forms": "play",
            "max_context": CONTEXT,
        }
        deployment = {"model": str(checkpoint), "engine": engine, "repository": {"max_context": CONTEXT}}
        with (
            serving(deployment, server_folder) as server,
            shimming(server, shim_folder, {"probe_every_s": 3600}) as shim,
            recording(shim.url.removeprefix("http://")) as (address, exchanges),
        ):
            _begin_scripts(server, shim, len(scripts))
            prepared = agent.prepare(home, f"http://{address}/v1", f"Which word is in {file}? Read the file.")
            ended, printed = _ended([str(program), *prepared.arguments], home, room, prepared.environment)
            wrong = fault(file, exchanges, ended, printed)
    print(*(f"  {shown(exchange)}" for exchange in exchanges), sep="\n")
    if wrong:
        print(
            f"{agent.name} ({agent.package or agent.program}): FAILED, {wrong}; its output:\n{printed[-SHOWN:]}",
            flush=True,
        )
    else:
        print(
            f"{agent.name} ({agent.package or agent.program}): called {agent.tool}, sent its result, printed the answer",
            flush=True,
        )
    return not wrong


def _begin_scripts(server: LiveServer, shim: LiveShim, scripts: int) -> None:
    """Asks until the engine is at its first script again: readiness has generated a token, which took one."""
    counters = server.engine_counters()
    for _ in range(-(counters["finished"] + counters["cancelled"]) % scripts):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        httpx.post(f"{shim.v1}/chat/completions", json=body).raise_for_status()


def _ended(line: Sequence[str], home: Path, room: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """(exit code, output) of an agent in a home and a working folder of its own; 124 where it did not end."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    own = {"HOME": str(home), "CI": "1", "NO_COLOR": "1", **environment}
    try:
        done = subprocess.run(
            line, cwd=room, env=kept | own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=RUN_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        return 124, output.decode() if isinstance(output, bytes) else output
    return done.returncode, done.stdout


def main() -> int:
    """Runs the command line; 0 if every agent did it, 1 if one did not, 2 if they cannot be run here."""
    names = [*(agent.name for agent in AGENTS), ai_sdk.NAME]
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.agent_clis", description="coding agents against the shim, one round of a tool each"
    )
    parser.add_argument("agents", nargs="*", metavar="AGENT", help=f"{', '.join(names)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.agents) - set(names):
        parser.error(f"no such agent: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    checkpoint = fetch() / "qwen3"
    tokenizer = Tokenizer.from_folder(checkpoint)
    chosen = [agent for agent in AGENTS if not options.agents or agent.name in options.agents]
    try:
        failed = [agent.name for agent in chosen if not run(agent, tokenizer, checkpoint)]
        if ai_sdk.NAME in (options.agents or names) and not ai_sdk.run():
            failed.append(ai_sdk.NAME)
    except (RuntimeError, OSError, subprocess.TimeoutExpired, pytest.fail.Exception) as error:
        print(f"agent_clis: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
