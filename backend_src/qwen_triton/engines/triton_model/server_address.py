"""Where the server that a model belongs to takes gRPC: read from its command line, so that nobody need be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigurationError

_PORT = 8001
_EVERYWHERE = {"0.0.0.0", "::", "[::]"}
_REMEDY = "or set engine_door of tensorrt_llm_bls to exec"


@dataclass(frozen=True)
class GrpcAddress:
    """`metadata`: what a call must bring along."""

    host: str
    port: int
    metadata: tuple[tuple[str, str], ...] = ()


def grpc_address(server_pid: int) -> GrpcAddress:
    """Of the tritonserver with this process id. Raises ConfigurationError when it cannot be reached, with the remedy."""
    words = Path(f"/proc/{server_pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return read_command_line(words)


def read_command_line(words: Sequence[str]) -> GrpcAddress:
    """The same of its command line."""
    if not Path(words[0]).name.startswith("tritonserver"):
        raise _unreachable(
            f"this model's server runs inside {Path(words[0]).name!r}, which does not say where it takes gRPC",
            "serve with tritonserver",
        )
    pairs = _options(words[1:])
    options = dict(pairs)  # the last one counts, as in the server
    _check(options)
    host = options.get("grpc-address", "0.0.0.0")
    port = int(options.get("grpc-port", _PORT))
    return GrpcAddress("127.0.0.1" if host in _EVERYWHERE else host, port, _restriction(pairs))


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values, of «--name=value» and of «--name value»."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            found.append((name, value if given else following))
    return found


def _check(options: dict[str, str]) -> None:
    def on(name: str, default: str = "false") -> bool:
        return options.get(name, default).lower() in ("true", "1")

    if not on("allow-grpc", "true"):
        raise _unreachable("the server takes no gRPC (--allow-grpc)", "allow it")
    if on("grpc-use-ssl") or on("grpc-use-ssl-mutual"):
        raise _unreachable("the server takes gRPC with TLS only (--grpc-use-ssl)", "end TLS before the server")
    if on("reuse-grpc-port"):
        raise _unreachable("several servers share the gRPC port (--reuse-grpc-port)", "give each its own")


def _unreachable(found: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        f"the engine's model is reached through the server's own gRPC, but {found}; {remedy}, {_REMEDY}"
    )


def _restriction(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The keys that calls must bring where inference is restricted: --grpc-restricted-protocol=PROTOCOLS:KEY=VALUE."""
    found = []
    for name, restriction in pairs:
        protocols, _, pair = restriction.partition(":")
        key, _, value = pair.partition("=")
        if name == "grpc-restricted-protocol" and "inference" in protocols.split(","):
            found.append((f"triton-grpc-protocol-{key}", value))
    return tuple(found)
