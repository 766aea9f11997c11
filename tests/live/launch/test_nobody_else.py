"""Another user of the machine, and a caller of Triton's ports, get at nothing that is not theirs."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from qwen_triton_build.launch.closed_apis import HEADER
from tests.live.conftest import Serve
from tests.support.live.client import generate
from tests.support.live.launches import Launch, launched
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live

NOBODY = 65534
WAIT_S = 10
SHM = Path("/dev/shm")

CLOSED_PATHS = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/index?ready=true"),
    ("POST", "/v2/repository/some/index"),
    ("POST", "/v2/repository/models/ensemble/load"),
    ("POST", "/v2/repository/models/ensemble/unload"),
    ("POST", "/v2/repository/some/models/ensemble/load"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/systemsharedmemory/region/r/status"),
    ("POST", "/v2/systemsharedmemory/region/r/register"),
    ("POST", "/v2/systemsharedmemory/region/r/unregister"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/r/register"),
    ("POST", "/v2/cudasharedmemory/unregister"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("GET", "/v2/models/ensemble/trace/setting"),
    ("POST", "/v2/models/ensemble/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
    ("PUT", "/v2/logging"),
]
BESIDE_THEM = ["/v2/repository/index/", "//v2/repository/index", "/v2/./repository/index", "/v2/%72epository/index",
               "/V2/logging", "/v2/logging/", "/v2;/logging"]  # fmt: skip
"""Other spellings of closed paths: Triton knows none of them."""
CLOSED_CALLS: list[Callable[[InferenceServerClient], Any]] = [
    lambda c: c.get_model_repository_index(),
    lambda c: c.load_model("ensemble"),
    lambda c: c.unload_model("ensemble"),
    lambda c: c.get_system_shared_memory_status(),
    lambda c: c.register_system_shared_memory("r", "/x", 1),
    lambda c: c.unregister_system_shared_memory(),
    lambda c: c.get_cuda_shared_memory_status(),
    lambda c: c.unregister_cuda_shared_memory(),
    lambda c: c.get_trace_settings(),
    lambda c: c.update_trace_settings("ensemble", {}),
    lambda c: c.get_log_settings(),
    lambda c: c.update_log_settings({"log_verbose_level": 1}),
]


@pytest.fixture(scope="module")
def launch(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`qwen-triton serve` with server, engine and shim."""
    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "mode": "echo"}}
    with launched(deployment, tmp_path_factory.mktemp("launch")) as running:
        yield running


def as_nobody(file: Path) -> int:
    """What opening `file` for reading gives to the user nobody, whatever its folders allow: 0, or an errno."""
    folder = os.open(file.parent, os.O_PATH)
    reader = os.fork()
    if reader == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            os.open(file.name, os.O_RDONLY, dir_fd=folder)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    os.close(folder)
    return os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1])


def request(server: str, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and `error` of an answer; the path goes out as it stands."""
    sent = urllib.request.Request(f"http://{server}{path}", b"{}" if method != "GET" else None, headers or {})
    sent.method = method
    try:
        with urllib.request.urlopen(sent, timeout=WAIT_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, str(json.loads(error.read())["error"])


def raw_call(server: LiveServer, name: str, value: str) -> int | bytes:
    """RepositoryIndex with a header that no library would send: the reset's code, or what was answered."""
    host, _, port = server.grpc.partition(":")
    loose = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None)
    http2 = H2Connection(loose)
    http2.initiate_connection()
    path = "/inference.GRPCInferenceService/RepositoryIndex"
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
    http2.send_headers(1, [*headers, ("content-type", "application/grpc"), (name, value)])
    http2.send_data(1, b"\0\0\0\0\0", end_stream=True)
    answered = b""
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        connection.sendall(http2.data_to_send())
        while True:
            for event in http2.receive_data(connection.recv(65536)):
                if isinstance(event, StreamReset):
                    return int(event.error_code)
                if isinstance(event, DataReceived | ResponseReceived):
                    answered += getattr(event, "data", b"")
                if isinstance(event, StreamEnded):
                    return answered
            connection.sendall(http2.data_to_send())


def test_no_other_user_reads_shared_memory_logs_or_temporary_files(launch: Launch) -> None:
    """Prompts are in all of them. Every file is refused by its own mode, not only by its folder's."""
    regions = [file for file in SHM.iterdir() if file.name.startswith(f"qwen_triton_{launch.process.pid}_")]
    assert len(regions) >= 4
    (work,) = (launch.folder / "tmp").iterdir()
    assert work.stat().st_mode & 0o777 == 0o700
    private = [*regions, launch.folder / "log", work]
    assert {file.name: file.stat().st_mode & 0o077 for file in private} == {file.name: 0 for file in private}
    assert {file.name: as_nobody(file) for file in private} == {file.name: 13 for file in private}


def test_every_process_makes_private_files(launch: Launch) -> None:
    """tritonserver, its stubs, the engine and the shim: what they make later is private too."""
    umasks = {}
    for process in launch.descendants():
        status = Path(f"/proc/{process.pid}/status").read_text()
        umasks[process.pid] = next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:"))
    assert len(umasks) >= 7
    assert set(umasks.values()) == {"0077"}


@pytest.mark.parametrize(("method", "path"), CLOSED_PATHS)
def test_closed_apis_are_refused_over_http(replay_server: LiveServer, method: str, path: str) -> None:
    """Whatever header is sent: the name in the refusal is none that a request can have."""
    refused = (403, f"This API is restricted, expecting header '{HEADER}'")
    assert request(replay_server.http, method, path) == refused
    name, _, rest = HEADER.partition(":")
    assert request(replay_server.http, method, path, {name: rest}) == refused
    assert request(replay_server.http, method, path, {name: f"{rest}={secret(replay_server)}"}) == refused


@pytest.mark.parametrize("path", BESIDE_THEM)
def test_no_other_spelling_of_a_path_opens_it(replay_server: LiveServer, path: str) -> None:
    assert request(replay_server.http, "POST", path) == (404, "Not Found")


@pytest.mark.parametrize("call", range(len(CLOSED_CALLS)))
def test_closed_apis_are_refused_over_grpc(replay_server: LiveServer, call: int) -> None:
    with InferenceServerClient(replay_server.grpc) as client, pytest.raises(InferenceServerException) as refused:
        CLOSED_CALLS[call](client)
    assert refused.value.message() == f"This protocol is restricted, expecting header 'triton-grpc-protocol-{HEADER}'"


def test_the_value_that_every_user_sees_in_the_process_list_opens_nothing(replay_server: LiveServer) -> None:
    """gRPC resets the stream (2: internal error) of a call whose header has that name."""
    assert raw_call(replay_server, f"triton-grpc-protocol-{HEADER}", secret(replay_server)) == 2


def test_what_clients_use_stays_open(replay_server: LiveServer) -> None:
    """Health, metadata, model configuration, statistics and inference need no header."""
    paths = ["/v2", "/v2/health/ready", "/v2/models/ensemble", "/v2/models/ensemble/config", "/v2/models/stats"]
    assert [request(replay_server.http, "GET", path)[0] for path in paths] == [200] * len(paths)
    assert generate(replay_server, "ensemble", text_input="hello", max_tokens=8)["text_output"] == "hello"


def test_an_api_that_the_deployment_opens_answers(serve: Serve, qwen25_folder: Path) -> None:
    """Only that one; the others stay closed."""
    engine = {"kind": "replay", "mode": "echo"}
    server = serve({"model": str(qwen25_folder), "engine": engine, "server": {"open_apis": ["model-repository"]}})
    status, index = request(server.http, "POST", "/v2/repository/index")
    assert (status, len(json.loads(index))) == (200, 5)
    assert request(server.http, "GET", "/v2/logging")[0] == 403
    with InferenceServerClient(server.grpc) as client:
        assert len(client.get_model_repository_index().models) == 5


def test_a_port_that_is_not_exposed_listens_on_loopback(qwen25_folder: Path, tmp_path: Path) -> None:
    """`expose: [metrics]` with `host: 0.0.0.0`: HTTP and gRPC for this machine, metrics for all."""
    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "replay", "mode": "echo"},
        "server": {"host": "0.0.0.0", "expose": ["metrics"]},
    }
    with launched(deployment, tmp_path) as launch:
        server = launch.deployment.server
        listening = {port: addresses(port) for port in (server.http_port, server.grpc_port, server.metrics_port)}
        assert listening == {
            server.http_port: {"127.0.0.1"},
            server.grpc_port: {"127.0.0.1"},
            server.metrics_port: {"0.0.0.0"},
        }


def addresses(port: int) -> set[str]:
    """The addresses at which somebody listens on this port; gRPC opens IPv6 sockets for IPv4 addresses."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                data = b"".join(words)
                listening = ip_address(data)
                found.add(str(getattr(listening, "ipv4_mapped", None) or listening))
    return found


def secret(server: LiveServer) -> str:
    """The value of the closing header, as any local user reads it from the server's command line."""
    words = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")
    (flag,) = [word for word in words if word.startswith("--grpc-restricted-protocol=")]
    return flag.rpartition("=")[2]
