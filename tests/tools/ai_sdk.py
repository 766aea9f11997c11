"""The AI SDK's `generateObject` and `streamObject` against the shim before the demo: `tests/tools/agent_clis.sh ai-sdk`.

    python -m tests.tools.ai_sdk      # the same, where Node.js and npm are known to be there

Both ways of its provider are tried: a schema in `response_format`, and a JSON object with the schema in the prompt. Packages
are installed from npm into .cache/, in the versions given here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.folders import ROOT
from tests.support.live.servers import serving
from tests.support.live.shims import MODEL, shimming

NAME = "ai-sdk"
PACKAGES = ("ai@6.0.325", "@ai-sdk/openai-compatible@2.0.92", "zod@4.6.7")
INSTALL_S, RUN_S = 550.0, 180.0
QUESTION = "Answer in JSON with the keys name, age. name Anna, age 31"
PROGRAM = """
import { generateObject, streamObject } from 'ai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { z } from 'zod';

const [url, name, prompt] = process.argv.slice(2);
const schema = z.object({ name: z.string(), age: z.number().int() });
for (const supportsStructuredOutputs of [true, false]) {
  const provider = createOpenAICompatible({ name: 'shim', baseURL: url, apiKey: 'none', supportsStructuredOutputs });
  const asked = { model: provider(name), schema, prompt, temperature: 0, maxRetries: 0 };
  const whole = await generateObject(asked);
  const stream = streamObject(asked);
  const partial = [];
  for await (const object of stream.partialObjectStream) partial.push(object);
  const last = await stream.object;
  console.log(JSON.stringify({ supportsStructuredOutputs, whole: whole.object, finish: whole.finishReason, partial, last }));
}
"""


def installed() -> Path:
    """A folder with the packages, and the program in it. Raises RuntimeError with npm's words."""
    home = ROOT / ".cache" / "agents" / "-".join(package.replace("/", "-") for package in PACKAGES)
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        print(f"{NAME}: installing {', '.join(PACKAGES)}", flush=True)
        line = ["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "--save-exact", *PACKAGES]
        made = subprocess.run(line, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if made.returncode:
            raise RuntimeError(f"npm install failed: {(made.stdout + made.stderr)[-4000:]}")
        (home / "complete").touch()
    (home / "object.mjs").write_text(PROGRAM)
    return home


def faults(printed: str) -> list[str]:
    """What is wrong with the program's lines, one for each way."""
    person = {"name": "Anna", "age": 31}
    found = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]  # it prints warnings too
    wrong = [] if len(found) == 2 else [f"{len(found)} of 2 ways ended"]
    for way in found:
        expected: dict[str, Any] = {"whole": person, "last": person, "finish": "stop"}
        wrong += [f"{key} is {way[key]!r} in {way}" for key, value in expected.items() if way[key] != value]
        if way["partial"][-1] != person or len(way["partial"]) < 2:
            wrong.append(f"its stream did not grow to the object: {way['partial']}")
    return wrong


def run() -> bool:
    """Whether all objects came and were right; prints how it went. Raises RuntimeError for packages that cannot be had."""
    home = installed()
    with tempfile.TemporaryDirectory() as folder:
        server_folder, shim_folder = Path(folder, "server"), Path(folder, "shim")
        server_folder.mkdir()
        shim_folder.mkdir()
        deployment = {
            "model": str(ROOT / "demo" / "checkpoint"),
            "engine": {"kind": "openvino", "cache_gib": 0.5},
            "repository": {"prompt_format": "chat"},
        }
        with serving(deployment, server_folder) as server, shimming(server, shim_folder) as shim:
            line = ["node", str(home / "object.mjs"), shim.v1, MODEL, QUESTION]
            done = subprocess.run(line, capture_output=True, text=True, timeout=RUN_S, check=False)
    wrong = [f"it ended with {done.returncode}: {done.stderr[-4000:]}"] if done.returncode else faults(done.stdout)
    print(f"{NAME} ({', '.join(PACKAGES)}): " + (f"FAILED, {'; '.join(wrong)}" if wrong else "all objects were right"))
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if run() else 1)
