"""Address of the server's own gRPC, read from the server's command line, so that nothing has to be configured.

Knows tritonserver's flags; opens no connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigurationError
from ...kserve.server_key import key_headers

_PORT = 8001
_PREFIX = "triton-grpc-protocol-"
_EVERYWHERE = {"0.0.0.0", "::", "[::]"}


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a server that serves gRPC with TLS, as its flags name them.

    `client_roots`: the authorities that a client's certificate must come from; None where clients need none.
    """

    certificate: Path
    key: Path
    client_roots: Path | None = None


@dataclass(frozen=True)
class GrpcAddress:
    """Where the server serves gRPC. `metadata`: headers that each call must have. `tls`: None = without TLS."""

    host: str
    port: int
    metadata: tuple[tuple[str, str], ...] = ()
    tls: TlsFiles | None = None


def grpc_address(server_pid: int) -> GrpcAddress:
    """The gRPC address of the tritonserver process `server_pid`.

    Raises ConfigurationError, with the remedy, for a server whose gRPC a model cannot reach.
    """
    return read_command_line(_words(server_pid), Path(f"/proc/{server_pid}/cwd").readlink())


def server_flags(server_pid: int) -> dict[str, str]:
    """The flags of the tritonserver process `server_pid`; of one given twice the last, which tritonserver takes."""
    return dict(_flags(_words(server_pid)[1:]))


def is_set(flags: Mapping[str, str], name: str) -> bool:
    """Whether a flag that is off by default is on."""
    return _is_true(flags.get(name, "false"))


def _words(server_pid: int) -> list[str]:
    return Path(f"/proc/{server_pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")


def read_command_line(words: Sequence[str], folder: Path = Path()) -> GrpcAddress:
    """The gRPC address in a tritonserver's command line; relative file names are relative to `folder`.

    Raises ConfigurationError, with the remedy, for a server whose gRPC a model cannot reach.
    """
    if not Path(words[0]).name.startswith("tritonserver"):
        raise _unreachable(
            f"this model's server runs inside {Path(words[0]).name!r}, whose command line does not name its gRPC port",
            "serve with tritonserver",
        )
    flags = _flags(words[1:])
    last = dict(flags)  # tritonserver takes the last of a flag that is given twice
    if not _is_true(last.get("allow-grpc", "true")):
        raise _unreachable(
            "the server does not serve gRPC (--allow-grpc)", "serve gRPC on loopback: --grpc-address=127.0.0.1"
        )
    if _is_true(last.get("reuse-grpc-port", "false")):
        raise _unreachable("several servers share the gRPC port (--reuse-grpc-port)", "give each server its own port")
    host = last.get("grpc-address", "0.0.0.0")
    port = int(last.get("grpc-port", _PORT))
    tls = _tls_files(last, folder) if _uses_tls(flags) else None
    return GrpcAddress("127.0.0.1" if host in _EVERYWHERE else host, port, _restriction(flags), tls)


def _flags(words: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values, of «--name=value» and of «--name value»."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found.append((name, value if equals else following))
    return found


def _is_true(value: str) -> bool:
    return value.lower() in ("true", "1")


def _uses_tls(flags: Sequence[tuple[str, str]]) -> bool:
    """In tritonserver 2.51 --grpc-use-ssl-mutual switches TLS on whatever its value; the later of the two flags wins."""
    uses_tls = False
    for name, value in flags:
        if name in ("grpc-use-ssl", "grpc-use-ssl-mutual"):
            uses_tls = name == "grpc-use-ssl-mutual" or _is_true(value)
    return uses_tls


def _tls_files(flags: dict[str, str], folder: Path) -> TlsFiles:
    def file(flag: str) -> Path:
        if not flags.get(flag):
            raise _unreachable(f"the server serves gRPC with TLS and its --{flag} is not given", f"give --{flag}")
        return folder / flags[flag]

    mutual = _is_true(flags.get("grpc-use-ssl-mutual", "false"))
    return TlsFiles(file("grpc-server-cert"), file("grpc-server-key"), file("grpc-root-cert") if mutual else None)


def _unreachable(found: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"the engine model is reached through the server's own gRPC, but {found}; {remedy}")


def _restriction(flags: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The headers of calls where inference is restricted: --grpc-restricted-protocol=PROTOCOLS:KEY=VALUE.

    The key that the environment has is not among them: every call carries it, and the launcher hides it here.
    """
    found = []
    for name, restriction in flags:
        protocols, _, pair = restriction.partition(":")
        key, _, value = pair.partition("=")
        if (
            name == "grpc-restricted-protocol"
            and "inference" in protocols.split(",")
            and f"{_PREFIX}{key}" not in key_headers()
        ):
            found.append((f"{_PREFIX}{key}", value))
    return tuple(found)
