"""Questions to the interpreter of a GPU engine: what it has installed, and which arguments the library takes."""

from __future__ import annotations

import difflib
import json
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from qwen_triton.engines.kinds import ENGINES
from qwen_triton.engines.option import read_options
from qwen_triton.engines.process.interpreter import Interpreter, find_interpreter
from qwen_triton.errors import ConfigurationError

from ...deployment.engine_sections import ProcessEngineSection
from ..site import Site

_ASK_S = 120.0
_Options = TypeVar("_Options")


@dataclass(frozen=True, slots=True)
class InstalledLibrary:
    """A library by its name for people, `title`, and its package. `arguments`: a script that prints those of its engine as a
    JSON list."""

    kind: str
    title: str
    package: str
    arguments: str

    def interpreter(self, python: str | None) -> Interpreter:
        """The engine's interpreter, `python` as the deployment names it. Raises ConfigurationError where there is none."""
        kind = ENGINES[self.kind]
        return find_interpreter(python, kind.requires, kind.environment)

    def version(self, found: Interpreter) -> str:
        """Without importing the library, which takes many seconds. Raises ConfigurationError where it or msgpack is missing."""
        return self._ask(
            found, f"import msgpack; from importlib.metadata import version; print(version('{self.package}'))"
        )

    def check_arguments(self, found: Interpreter, given: Collection[str], extra: Mapping[str, Any]) -> str:
        """What is set, of how many. Raises ConfigurationError for arguments that the library does not have.

        `given`: all that would be passed, `extra`: those of the key `extra`. Takes as long as importing the library.
        """
        known = set(json.loads(self._ask(found, self.arguments)))
        faults = []
        for name in sorted(set(given) - known):
            near = difflib.get_close_matches(name, known, 1)
            key = f"engine.extra.{name}" if name in extra else f"engine.{name}"
            remedy = f"did you mean {near[0]}?" if near else "leave it out"
            faults.append(f"{key}: this {self.package} has no such argument; {remedy}")
        if faults:
            raise ConfigurationError("\n".join(faults))
        return f"{len(given)} of {len(known)} are set"

    def _ask(self, found: Interpreter, script: str) -> str:
        environment = None if found.environment is None else tuple(found.environment.items())
        return _answer(found.python, environment, script, self.title, self.package)


def site_options(site: Site, options: type[_Options]) -> _Options:
    """The options of a deployment's engine, which runs in a process of its own."""
    engine = site.deployment.engine
    assert isinstance(engine, ProcessEngineSection)
    given = engine.engine_options(site.model_dir)
    return read_options(options, {name: value for name, value in given.items() if name != "engine"})


@lru_cache(maxsize=8)
def _answer(python: str, environment: tuple[tuple[str, str], ...] | None, script: str, title: str, package: str) -> str:
    """The last line that a script prints. Several checks need it; an error is not kept."""
    try:
        done = subprocess.run(
            [python, "-c", script],
            env=None if environment is None else dict(environment),
            capture_output=True, text=True, timeout=_ASK_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"{python} did not answer within {_ASK_S:.0f} s; name another as engine.python"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ConfigurationError(
            f"{python} cannot serve {title}: {last}; install {package} and msgpack there, or name another as engine.python"
        )
    return done.stdout.strip().splitlines()[-1]
