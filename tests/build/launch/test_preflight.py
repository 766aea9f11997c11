"""What would fail later without a reason fails before the start with one line and its remedy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import Server
from qwen_triton_build.launch import preflight
from qwen_triton_openai.settings import ShimSettings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def ports(**given: int) -> Server:
    """A server on ports that are free unless `given` says otherwise."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        free = [(s.bind(("127.0.0.1", 0)), s.getsockname()[1])[1] for s in (one, two, three)]
    return Server(**dict(zip(("http_port", "grpc_port", "metrics_port"), free, strict=True)) | given)


def test_this_machine_passes() -> None:
    preflight.check_machine()
    preflight.check_ports(ports())


def test_an_old_glibc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.platform, "libc_ver", lambda: ("glibc", "2.31"))
    with pytest.raises(ConfigurationError, match=r"^glibc 2.31 is too old, 2.35 is needed; use Debian 12, Ubuntu 22"):
        preflight.check_machine()


def test_numpy_2_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "version", {"numpy": "2.1.3"}.__getitem__)
    with pytest.raises(ConfigurationError, match=r"^numpy 2.1.3 breaks .*; run: pip install 'numpy<2'$"):
        preflight.check_machine()


def test_a_small_dev_shm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 << 20))
    with pytest.raises(ConfigurationError, match=r"^/dev/shm has 3 MiB free, 5 are needed; .* --shm-size 256m$"):
        preflight.check_machine()


@pytest.mark.parametrize("key", ["http_port", "grpc_port", "metrics_port"])
def test_a_taken_port_is_named_with_what_moves_it(key: str, taken: int) -> None:
    with pytest.raises(ConfigurationError) as error:
        preflight.check_ports(ports(**{key: taken}))
    assert str(error.value) == (
        f"server.{key}: port {taken} cannot be used (Address already in use); "
        f"stop what holds it, or give another: {key.upper()}=… or in the deployment"
    )


def test_the_shim_s_port_is_checked_with_the_others(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"^openai.port: port {taken} cannot be used .* OPENAI_PORT=… or"):
        preflight.check_ports(ports(), ShimSettings(port=taken))


def test_a_port_given_twice_is_named() -> None:
    server = ports()
    with pytest.raises(ConfigurationError, match=rf"^openai.port: port {server.http_port} is server.http_port already"):
        preflight.check_ports(server, ShimSettings(port=server.http_port))


def test_a_port_that_is_not_exposed_is_tried_on_loopback() -> None:
    """An address that this machine has not got is not asked for ports that do not listen there."""
    free = ports().model_dump() | {"host": "192.0.2.1"}
    preflight.check_ports(Server(**free | {"expose": []}))
    with pytest.raises(ConfigurationError, match=r"^server\.grpc_port: port \d+ cannot be used"):
        preflight.check_ports(Server(**free | {"expose": ["grpc"]}))


def test_an_address_of_elsewhere_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^server.host: 'no.such.host.invalid' is no address of this machine"):
        preflight.check_ports(Server(host="no.such.host.invalid"))


def test_no_folder_to_write_to_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    with (
        pytest.raises(ConfigurationError, match=r"no temporary folder can be written .*set TMPDIR"),
        preflight.work_folder(),
    ):
        pass
