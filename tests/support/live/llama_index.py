"""Runs LlamaIndex's structured output against a shim: by response_format, and by a call of a function.

It comes with forty packages of its own, so it lives in an environment of its own.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.live.tool_environment import tool_environment

VERSION = "0.8.1"
RUN_S = 100.0
PROGRAM = """
import json, sys

from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


url, model, question = sys.argv[1:]
found = {}
for way, by_schema in (("schema", True), ("call", False)):
    llm = OpenAILike(
        model=model, api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True, temperature=0,
        should_use_structured_outputs=by_schema, max_retries=0,
    )
    found[way] = [
        llm.as_structured_llm(Person).complete(question).raw.model_dump(),
        llm.structured_predict(Person, PromptTemplate(question)).model_dump(),
    ]
print(json.dumps(found))
"""


def structured(url: str, model: str, question: str) -> dict[str, list[Any]]:
    """The objects of `as_structured_llm` and `structured_predict`, by way: "schema" and "call". Fails with its words."""
    home = tool_environment(f"llama-index-openai-like-{VERSION}", f"llama-index-llms-openai-like=={VERSION}")
    line = [str(home / "bin" / "python"), "-c", PROGRAM, url, model, question]
    done = subprocess.run(line, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found
