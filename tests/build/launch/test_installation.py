"""Where tritonserver is found, what its Python stub needs, and what is said when one of them is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.launch import installation
from qwen_triton_build.launch.installation import find_installation, prepare_backends, python_library


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(0o755)
    return path


def test_the_package_s_server_is_found() -> None:
    found = find_installation()
    assert found.packaged
    assert found.binary.is_file()
    assert found.libraries[-1] == python_library().parent


def test_a_server_of_the_machine_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_OPT", tmp_path)
    binary = executable(tmp_path / "bin" / "tritonserver")
    found = find_installation()
    assert (found.binary, found.backends, found.packaged) == (binary, tmp_path / "backends", False)


def test_a_given_binary_comes_first(tmp_path: Path) -> None:
    binary = executable(tmp_path / "mine" / "bin" / "tritonserver")
    assert find_installation(binary).backends == tmp_path / "mine" / "backends"


def test_a_given_binary_must_be_executable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^server.tritonserver: .*/none is not an executable file$"):
        find_installation(tmp_path / "none")


def test_without_any_server_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"run: pip install --no-deps nvidia-pytriton==0.7.0$"):
        find_installation()


def test_a_python_without_a_stub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.sys, "version_info", (3, 13, 0))
    with pytest.raises(ConfigurationError, match=r"^Python 3.13 has no stub; use one of 3.10, 3.11, 3.12$"):
        python_library()


def test_a_python_without_a_shared_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_library_folders", lambda: [Path("/nowhere")])
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(ConfigurationError, match=rf"^no libpython{version}.so.1.0: .* --enable-shared"):
        python_library()


def test_the_stub_of_this_python_is_put_in_place(tmp_path: Path) -> None:
    backends = prepare_backends(find_installation(), tmp_path)
    stub = backends / "python" / "triton_python_backend_stub"
    assert stub.stat().st_mode & 0o111
    assert f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0".encode() in stub.read_bytes()
    assert (backends / "python" / "libtriton_python.so").exists()
