"""vLLM as its users have it without us: `LLM`, and an OpenAI server. Both answer at once, with as many tokens as wanted.

Arguments that the release's engine does not take are refused, as flags of the server too. Standard library only.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

from vllm._library import NAMES, EngineArgs

_OF_THE_SERVER = {
    "--host", "--port", "--served-model-name", "--generation-config", "--disable-uvicorn-access-log", "--api-server-count",
}  # fmt: skip


class LLM:
    def __init__(self, model: str, **arguments: Any) -> None:
        EngineArgs(model=model, **arguments).create_engine_config()

    def generate(self, prompts: list[Any], sampling: Any, use_tqdm: bool) -> list[Any]:  # noqa: ARG002  as the real one
        return [
            SimpleNamespace(outputs=[SimpleNamespace(token_ids=[7] * int(sampling.max_tokens))]) for _prompt in prompts
        ]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # each client says that it closes

    def log_message(self, *_: object) -> None:
        """A request is no line of the log."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        usage = {"completion_tokens": body["max_tokens"]}
        self.send_response(200)
        self.end_headers()
        if not body["stream"]:
            self.wfile.write(json.dumps({"choices": [{"text": "a"}], "usage": usage}).encode())
            return
        for _ in range(body["max_tokens"]):
            self._event({"choices": [{"text": "a"}]})
        self._event({"choices": [], "usage": usage})

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")


def main() -> None:
    """Serves `vllm serve MODEL …` until the process is ended."""
    assert sys.argv[1] == "serve"
    known = {"--" + name.replace("_", "-") for name in NAMES["vllm.engine.arg_utils.EngineArgs"]}
    for flag in sys.argv[3:]:
        if flag.startswith("--") and flag not in _OF_THE_SERVER | known | {f.replace("--", "--no-", 1) for f in known}:
            sys.exit(f"vllm serve: unrecognized argument {flag}")
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), _Answers)
    server.serve_forever()
