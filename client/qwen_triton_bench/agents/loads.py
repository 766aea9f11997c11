"""The two loads: agents, in a process of their own, and a neighbour that asks small questions meanwhile.

    python -m qwen_triton_bench.agents.loads LOAD    the agents' process: LOAD as JSON, their answers on stdout

What it costs agents to write their prompts does so not delay the neighbour.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from qwen_triton.errors import ConfigurationError
from qwen_triton.text.tokenizer import Tokenizer

from ..prompts.prompt import Prompt
from .asking import Answered, Asker, TargetAddress
from .conversation import AgentPlan, SourceText, conversation

_BETWEEN_S = 0.02
"""A neighbour's pause between two questions: enough of them for a median, too few to be a load."""
_QUESTION = "How many tokens has this question, and how long does its answer take to begin?"


@dataclass(frozen=True)
class AgentsLoad:
    """So many agents, each of which pauses for `pause_s` between an answer and its next turn, as one whose tools run."""

    address: TargetAddress
    tokenizer: Path
    plan: AgentPlan
    agents: int
    pause_s: float

    def encode(self) -> str:
        """As JSON."""
        return json.dumps({**asdict(self), "tokenizer": str(self.tokenizer)})

    @classmethod
    def decode(cls, text: str) -> AgentsLoad:
        """The inverse of encode."""
        given = json.loads(text)
        address, plan = TargetAddress(**given.pop("address")), AgentPlan(**given.pop("plan"))
        return cls(address, Path(given.pop("tokenizer")), plan, **given)


def run_agents(load: AgentsLoad) -> list[list[Answered]]:
    """The answers of each agent, turn by turn. Runs to the last turn of all."""
    tokenizer = Tokenizer.from_folder(load.tokenizer)

    def run_agent(agent: int) -> list[Answered]:
        asker = Asker(load.address)
        answers: list[Answered] = []
        try:
            for prompt in conversation(load.plan, SourceText(tokenizer, agent, load.agents), secrets.token_hex(6)):
                answers.append(asker.ask(prompt))
                time.sleep(load.pause_s)
        finally:
            asker.close()
        return answers

    with ThreadPoolExecutor(load.agents) as threads:
        return list(threads.map(run_agent, range(load.agents)))


def ask_alone(address: TargetAddress, questions: int) -> list[Answered]:
    """A neighbour's answers while nobody else asks."""
    return _ask(address, lambda asked: asked >= questions)


def ask_beside(load: AgentsLoad) -> tuple[list[Answered], list[list[Answered]]]:
    """A neighbour's answers while the agents run, and the agents'. Raises ConfigurationError when they end with an error."""
    command = [sys.executable, "-m", __name__, load.encode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agents, ThreadPoolExecutor(1) as reader:
        try:
            assert agents.stdout is not None
            written = reader.submit(agents.stdout.read)
            asked = _ask(load.address, lambda _: written.done())
        finally:
            if not written.done():  # the neighbour was interrupted
                agents.terminate()
    if agents.returncode:
        raise ConfigurationError("the process of the agents ended with an error, which stands above")
    return asked, [[Answered(*one) for one in agent] for agent in json.loads(written.result())]


def _ask(address: TargetAddress, done: Callable[[int], bool]) -> list[Answered]:
    asker = Asker(address)
    answers: list[Answered] = []
    try:
        while not done(len(answers)):
            answers.append(asker.ask(Prompt(1, text=_QUESTION)))
            time.sleep(_BETWEEN_S)
    finally:
        asker.close()
    return answers


if __name__ == "__main__":
    done = run_agents(AgentsLoad.decode(sys.argv[1]))
    print(json.dumps([[(one.first_token_s, one.input_tokens, one.error) for one in agent] for agent in done]))
