"""Values that no deployment should have: each ends with a line that names the key, none with a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.cli import main
from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, load_deployment
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import MODELS, check_config, fill, template_repository

BASE: dict[str, Any] = {"model": "models/qwen", "engine": {"kind": "replay"}}
VALUES: list[Any] = [
    "", " ", "\x00", "a\x00b", "x" * 300, "x/" * 2100, "x" * 5000, "a..b", ".", "..", "/", "\ud800", "\n", "a\nb", '"',
    "${x}", "\u2028", "x" * 64, "-1", 0, -1, 2**31, 2**63, 2**200, 1e308, float("nan"), float("inf"), True, None, [], [[]], {},
    {"": {}}, {"a": {"b": {}}}, ["x"] * 50,
]  # fmt: skip


def keys() -> Iterator[tuple[str, ...]]:
    for name, field in Deployment.model_fields.items():
        yield (name,)
        section = field.annotation
        yield from ((name, key) for key in getattr(section, "model_fields", ()))
    yield from (("engine", key) for key in TensorRtLlmSection.model_fields)
    yield from (("build", key) for key in ("checkpoint_dir", "python", "examples", "trtllm_version", "smoke_prompt"))


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    data = json.loads(json.dumps(BASE))
    if path[0] == "engine" and len(path) > 1 and path[1] in TensorRtLlmSection.model_fields and path[1] != "kind":
        data["engine"] = {"kind": "tensorrtllm", "engine_dir": "engines/qwen"}
    if len(path) == 1:
        data[path[0]] = value
    else:
        data[path[0]] = data.get(path[0], {}) | {path[1]: value}
    return data


def refusal(file: Path) -> str:
    """The message of a deployment that is refused; '' for one that can be rendered, or needs an engine for that."""
    try:
        deployment = load_deployment(file, environment={})
        values = None if isinstance(deployment.engine, TensorRtLlmSection) else placeholders(deployment, file.parent)
    except ConfigurationError as error:
        return str(error)
    if values is not None:
        for model in MODELS:
            check_config(fill((template_repository() / model / "config.pbtxt").read_text(), values, model), model)
    return ""


@pytest.mark.parametrize("path", list(dict.fromkeys(keys())), ids=".".join)
def test_a_value_is_taken_or_refused_in_a_line(path: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    for value in VALUES:
        file.write_text(json.dumps(changed(path, value)))
        found = refusal(file)
        assert all(len(line) < 3000 and path[0] in line for line in found.splitlines()), (path, value)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"model": "a\x00b"}, "model: has a NUL or half of a surrogate pair; take it out"),
        ({"model": "x" * 300}, "model: expected a path whose parts have at most 255 bytes and no NUL"),
        ({"server": {"host": ""}}, "server.host: expected an address or a name whose parts have 1 to 63 characters"),
        ({"server": {"host": "a" * 64}}, "server.host: expected an address or a name"),
        ({"server": {"host": "a..b"}}, "server.host: expected an address or a name"),
        ({"openai": {"host": ""}}, "openai.host: expected an address or a name"),
        ({"openai": {"tls_key": "x" * 300}}, "openai.tls_key: expected a path whose parts"),
        ({"server": {"tritonserver": "x/" * 3000}}, "server.tritonserver: expected a path whose parts"),
        ({"limits": {"stop_bytes": 0}}, "limits.stop_bytes: expected at least 1, got 0"),
        ({"limits": {"stop_byte": 1}}, "limits.stop_byte: unknown key; did you mean stop_bytes?"),
    ],
)
@pytest.mark.parametrize("command", ["render", "doctor", "build"])
def test_a_command_says_it_in_a_line(
    command: str, patch: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(json.dumps(BASE | patch))
    more = {"render": ["--output", str(tmp_path / "out")], "doctor": [], "build": ["--dry-run"]}[command]
    assert main([command, str(file), *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "localhost", "gpu-7.example.org", "a" * 63])
def test_addresses_and_names_are_taken(host: str, tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(json.dumps(BASE | {"server": {"host": host}}))
    assert load_deployment(file, environment={}).server.host == host
