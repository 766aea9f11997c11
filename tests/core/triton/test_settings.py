"""How the BLS reaches its engine: the parameter of its config.pbtxt, or what the engine model's backend implies."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton.model_config import Parameters
from qwen_triton.triton.settings import BlsSettings


def repository(folder: Path, backend: str) -> Path:
    (folder / "tensorrt_llm").mkdir()
    config = f'name: "tensorrt_llm"\nbackend: "{backend}"\nmodel_transaction_policy {{ decoupled: True }}\n'
    (folder / "tensorrt_llm" / "config.pbtxt").write_text(config + 'input [ { name: "input_ids" } ]')
    return folder


@pytest.mark.parametrize(
    ("backend", "given", "link"),
    [
        ("python", "", "own"),
        ("python", "${engine_door}", "own"),
        ("python", "grpc", "grpc"),
        ("tensorrtllm", "", "grpc"),
    ],
)
def test_the_link_is_the_backends_unless_given(tmp_path: Path, backend: str, given: str, link: str) -> None:
    parameters = Parameters("tensorrt_llm_bls", {"engine_door": given})
    assert BlsSettings.read(parameters, repository(tmp_path, backend)).engine_link == link


def test_another_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="engine_door: expected own or grpc, got 'http'"):
        BlsSettings.read(Parameters("m", {"engine_door": "http"}), repository(tmp_path, "python"))


def test_exec_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"m/config.pbtxt: parameter engine_door: .*serve gRPC on loopback"):
        BlsSettings.read(Parameters("m", {"engine_door": "exec"}), repository(tmp_path, "tensorrtllm"))
