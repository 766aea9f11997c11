"""Runs instructor against a shim: whole objects and streams of partial ones, in any of its modes.

Its `jiter` is older than the one that our openai package needs, so it lives in an environment of its own.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.live.tool_environment import tool_environment

VERSION = "1.17.0"
RUN_S = 100.0
PROGRAM = """
import json, sys

import instructor
from openai import OpenAI
from pydantic import BaseModel


class Place(BaseModel):
    city: str


url, model, mode, question = sys.argv[1:]
client = instructor.from_openai(OpenAI(base_url=url, api_key="none", max_retries=0), mode=instructor.Mode[mode])
sent = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_retries": 0}
whole, completion = client.create_with_completion(response_model=Place, **sent)
partial = [place.model_dump() for place in client.create_partial(response_model=Place, **sent)]
reason = completion.choices[0].finish_reason
print(json.dumps({"whole": whole.model_dump(), "finish_reason": reason, "partial": partial}))
"""


@dataclass(frozen=True)
class Extracted:
    """The object of a whole answer with its finish reason, and each state of it that the stream gave."""

    whole: dict[str, Any]
    finish_reason: str
    partial: list[dict[str, Any]]


def instructor_python() -> Path:
    """The interpreter of its environment, installed where it is not yet."""
    return tool_environment(f"instructor-{VERSION}", f"instructor=={VERSION}") / "bin" / "python"


def extract(python: Path, url: str, model: str, mode: str, question: str) -> Extracted:
    """Asks for an object `{"city": …}`; `mode` is a name of `instructor.Mode`. Fails with the program's words."""
    line = [str(python), "-c", PROGRAM, url, model, mode, question]
    done = subprocess.run(line, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Extracted(**json.loads(done.stdout.splitlines()[-1]))
