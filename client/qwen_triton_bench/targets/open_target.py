"""Opens the target that a command names, with what the server says of itself and a tokenizer to count with."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.tensors.contract import PREPROCESSING, TENSORRT_LLM

from ..options import DEFAULT_PORTS, MODES
from ..prompts.tokenizer import Encode, folder_tokenizer, in_batches
from .openai import OpenAiTarget, first_model
from .round_robin import RoundRobin
from .server_facts import ServerFacts
from .target import Target
from .triton_grpc import GrpcTarget
from .triton_http import HttpTarget


@dataclass(frozen=True)
class OpenTarget:
    """A target ready for a load.

    `as_ids`: prompts are token ids. `counts_prompts`: the server counts the prompt as it was sent, without a template.
    """

    target: Target
    server: str
    encode: Encode | None
    as_ids: bool
    counts_prompts: bool = True


def open_target(arguments: argparse.Namespace) -> OpenTarget:
    """Raises ConfigurationError when nothing answers, or not as such a model would."""
    encode = folder_tokenizer(arguments.tokenizer_dir) if arguments.tokenizer_dir else None
    return _openai(arguments, encode) if arguments.mode == "openai" else _triton(arguments, encode)


def _openai(arguments: argparse.Namespace, encode: Encode | None) -> OpenTarget:
    url = (arguments.url or f"http://localhost:{DEFAULT_PORTS['openai']}").rstrip("/").removesuffix("/v1")
    url = url if "://" in url else f"http://{url}"
    model = first_model(url, arguments.api_key)
    chat = arguments.endpoint == "chat"
    streamed = arguments.stream is not False
    if encode is None and arguments.triton_url:
        encode = _server_tokenizer(ServerFacts(_host_port(arguments.triton_url)))
    target = OpenAiTarget(url, arguments.model or model, chat=chat, streamed=streamed, key=arguments.api_key)
    return OpenTarget(target, f"OpenAI-compatible at {url}", encode, as_ids=False, counts_prompts=not chat)


def _triton(arguments: argparse.Namespace, encode: Encode | None) -> OpenTarget:
    url = _host_port(arguments.url or f"localhost:{DEFAULT_PORTS[arguments.protocol]}")
    facts = ServerFacts(url, arguments.protocol)
    server = facts.server()
    kind = MODES[arguments.mode][0]
    if arguments.decoupled and arguments.protocol != "grpc":
        raise ConfigurationError("--decoupled: asks through a gRPC stream; give -i grpc too")
    names = [arguments.model] if isinstance(arguments.model, str) else arguments.model
    targets = [_target(arguments, url, facts.model(name), kind) for name in names]
    target = targets[0] if len(targets) == 1 else RoundRobin(targets)
    encode = encode or _server_tokenizer(facts)
    return OpenTarget(target, server, encode, as_ids=kind == TENSORRT_LLM)


def _target(arguments: argparse.Namespace, url: str, model: DeclaredModel, kind: str) -> Target:
    streamed = model.decoupled and not arguments.decoupled if arguments.stream is None else arguments.stream
    if streamed and not model.decoupled:
        raise ConfigurationError(f"--stream: {model.name} is not decoupled and answers whole; leave the option out")
    return (GrpcTarget if arguments.protocol == "grpc" else HttpTarget)(url, model, kind, streamed)


def _server_tokenizer(facts: ServerFacts) -> Encode:
    return in_batches(facts.token_ids, facts.model(PREPROCESSING).max_batch_size or 1)


def _host_port(url: str) -> str:
    bare = url.removeprefix("http://").removeprefix("grpc://").rstrip("/")
    host, _, port = bare.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError(f"--url: expected HOST:PORT, got {url!r}")
    return bare
