"""The message of `serve` when all processes are ready: addresses, and commands that work as they are printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from qwen_triton.tensors.contract import BAD_WORDS, STOP_WORDS, TEXT_INPUT

from ..deployment.schema import Deployment

PROMPT = "你好，你叫什么名字"


def ready_message(deployment: Deployment, seconds: float, openai_url: str | None, log: Path | None) -> str:
    """Several lines. `seconds` since the start; `openai_url` None = no shim, `log` None = this terminal."""
    server = deployment.server
    http, grpc, metrics = (reachable(server.host_of(door)) for door in ("http", "grpc", "metrics"))
    openai = [f"  OpenAI   {openai_url}/v1"] if openai_url else []
    tries = [
        f"  curl -X POST {http}:{server.http_port}/v2/models/ensemble/generate -d {_quoted(_stock_body())}",
        *([f"  curl {openai_url}/v1/chat/completions -d {_quoted(_chat_body(deployment))}"] if openai_url else []),
    ]
    return "\n".join(
        [
            "",
            f"ready in {seconds:.1f} s: {deployment.served_model_name} on the {deployment.engine.kind} engine",
            *openai,
            f"  HTTP     http://{http}:{server.http_port}",
            f"  gRPC     {grpc}:{server.grpc_port}",
            f"  metrics  http://{metrics}:{server.metrics_port}/metrics",
            f"  log      {log or 'this terminal'}",
            "",
            "try:",
            *tries,
            "",
            "Ctrl-C stops it.",
        ]
    )


def reachable(host: str) -> str:
    """A host name that clients on this machine can use for the address that a server listens at."""
    return "localhost" if host in ("127.0.0.1", "0.0.0.0") else host


def _stock_body() -> dict[str, object]:
    return {TEXT_INPUT: PROMPT, "max_tokens": 100, BAD_WORDS: "", STOP_WORDS: ""}


def _chat_body(deployment: Deployment) -> dict[str, object]:
    return {"model": deployment.served_model_name, "messages": [{"role": "user", "content": PROMPT}]}


def _quoted(body: dict[str, object]) -> str:
    return shlex.quote(json.dumps(body, ensure_ascii=False))
