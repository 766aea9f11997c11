"""A deployment is typed; each wrong key, type and value is one line with path, reason and remedy."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from qwen_triton.checkpoint import hub
from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment import schema
from qwen_triton_build.deployment.checkpoint_names import resolve_model
from qwen_triton_build.deployment.engine_sections import OpenVinoSection, ReplaySection, TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, TritonPort, load_deployment
from tests.support.folders import ROOT

EXAMPLES = ROOT / "deployments"
BASE = "model: m\nengine: {kind: replay}\n"


def load(text: str, folder: Path, **environment: str) -> Deployment:
    file = folder / "deployment.yaml"
    file.write_text(text)
    return load_deployment(file, environment)


def fault(text: str, folder: Path, **environment: str) -> str:
    """What is said of a wrong deployment, without the file's name."""
    with pytest.raises(ConfigurationError) as error:
        load(text, folder, **environment)
    return str(error.value).replace(f"{folder}/deployment.yaml: ", "")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_are_right(example: Path) -> None:
    assert load_deployment(example, {}).model


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("model: m\nengine: {kind: openvino, profile: int8}", OpenVinoSection),
        (BASE, ReplaySection),
        ("model: m\nengine: {kind: tensorrtllm, engine_dir: /e}", TensorRtLlmSection),
    ],
)
def test_the_engine_s_kind_chooses_its_keys(text: str, kind: type, tmp_path: Path) -> None:
    assert isinstance(load(text, tmp_path).engine, kind)


def test_paths_are_relative_to_the_file_and_hub_names_stay(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    local = load("model: checkpoint\nengine: {kind: tensorrtllm, engine_dir: ../e}", tmp_path)
    assert isinstance(local.engine, TensorRtLlmSection)
    assert local.model == str(tmp_path / "checkpoint")
    assert local.engine.engine_dir == tmp_path.parent / "e"
    assert load("model: Qwen/Qwen2.5-0.5B\nengine: {kind: replay}", tmp_path).model == "Qwen/Qwen2.5-0.5B"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected keys such as model and engine, got nothing"),
        ("- a", "expected keys such as model and engine, got list"),
        ("engine: {kind: replay}", "model: is missing; give it a value"),
        ("model: m", "engine: is missing; give it a value"),
        ("model: 3\nengine: {kind: replay}", "model: expected a valid string, got 3"),
        ("model: ''\nengine: {kind: replay}", "model: expected some text, got ''"),
        (
            "model: m\nengine: {}",
            "engine.kind: is missing; expected one of openvino, replay, llmapi, vllm, tensorrtllm",
        ),
        (
            "model: m\nengine: {kind: v}",
            "engine.kind: got 'v'; expected one of openvino, replay, llmapi, vllm, tensorrtllm",
        ),
        ("model: m\nengine: replay", "engine: expected keys and values, got 'replay'"),
        ("model: m\nengine: {kind: replay, slot: 3}", "engine.slot: unknown key; did you mean slots?"),
        (
            "model: m\nengine: {kind: openvino, slots: 3}",
            "engine.slots: unknown key; known keys: cache_gib, form_compile_s, kind, ",
        ),
        (
            "model: m\nengine: {kind: openvino, profile: fp8}",
            "engine.profile: expected 'exact', 'bf16', 'int8' or 'int8-fast', got 'fp8'",
        ),
        ("model: m\nengine: {kind: replay, step_ms: .nan}", "engine.step_ms: expected at least 0, got nan"),
        ("model: m\nengine: {kind: replay, scripts: [[a]]}", "engine.scripts.0.0: expected a valid integer, got 'a'"),
        ("model: m\nengine: {kind: tensorrtllm}", "engine.engine_dir: is missing; give it a value"),
        ("model: m\nengine: {kind: tensorrtllm, engine_dir: 3}", "engine.engine_dir: expected a path, got 3"),
        (BASE + "server: 3", "server: expected keys and values of Server, got 3"),
        (BASE + "server: {http_prt: 1}", "server.http_prt: unknown key; did you mean http_port?"),
        (BASE + "server: {http_port: '8000'}", "server.http_port: expected a valid integer, got '8000'"),
        (BASE + "server: {http_port: 70000}", "server.http_port: expected at most 65535, got 70000"),
        (BASE + "server: {expose: [https]}", "server.expose.0: expected 'http', 'grpc' or 'metrics', got 'https'"),
        (BASE + "server: {expose: http}", "server.expose: expected a valid list, got 'http'"),
        (
            BASE + "server: {open_apis: [inference]}",
            "server.open_apis.0: expected 'shared-memory', 'model-repository', 'trace' or 'logging', got 'inference'",
        ),
        (BASE + "server: {api_key_file: 3}", "server.api_key_file: expected a path, got 3"),
        (BASE + "server: {1: 2}", "server.1: a key must be a word, got 1"),
        (BASE + "repository: {decoupled: 'no'}", "repository.decoupled: expected a valid boolean, got 'no'"),
        (BASE + "repository: {prompt_format: x}", "repository.prompt_format: expected 'raw' or 'chat', got 'x'"),
        (BASE + "repository: {max_batch_size: 0}", "repository.max_batch_size: expected at least 1, got 0"),
        (
            BASE + "repository: {engine_door: exec}",
            "repository.engine_door: exec is not supported; leave the key out and serve gRPC on loopback: "
            "server.host: 127.0.0.1, got 'exec'",
        ),
        (BASE + "repository: {engine_door: http}", "repository.engine_door: expected 'own' or 'grpc', got 'http'"),
        (
            "model: m\nengine: {kind: tensorrtllm, engine_dir: /e}\nrepository: {engine_door: own}",
            "repository.engine_door: a tensorrtllm engine has no process of its own; leave the key out, or give grpc",
        ),
        (BASE + "openai: {prt: 1}", "openai.prt: unknown key; did you mean port?"),
        (BASE + "openai: {local_sockets: 'no'}", "openai.local_sockets: expected a valid boolean, got 'no'"),
        (
            BASE + "openai: {tool_format: xml}",
            "openai.tool_format: expected 'auto', 'hermes' or 'qwen3_coder', got 'xml'",
        ),
        (BASE + "hub: github", "hub: expected 'huggingface' or 'modelscope', got 'github'"),
        (BASE + "model: n", "cannot be read as YAML: line 1: model is given twice; keep one of them"),
        ("a: [", "cannot be read as YAML: while parsing a flow node"),
    ],
)
def test_a_fault_is_one_line_with_path_reason_and_remedy(text: str, line: str, tmp_path: Path) -> None:
    said = fault(text, tmp_path)
    assert said.startswith(line)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("keys", "hosts"),
    [
        ("host: 0.0.0.0", ["0.0.0.0", "0.0.0.0", "0.0.0.0"]),
        ("host: 0.0.0.0, expose: [metrics]", ["127.0.0.1", "127.0.0.1", "0.0.0.0"]),
        ("host: 10.0.0.7, expose: [grpc]", ["127.0.0.1", "10.0.0.7", "127.0.0.1"]),
        ("expose: []", ["127.0.0.1", "127.0.0.1", "127.0.0.1"]),
    ],
)
def test_a_port_that_is_not_exposed_is_on_loopback(keys: str, hosts: list[str], tmp_path: Path) -> None:
    """The shim asks it there."""
    loaded = load(BASE + f"server: {{{keys}}}", tmp_path)
    ports: list[TritonPort] = ["http", "grpc", "metrics"]
    assert [loaded.server.host_of(port) for port in ports] == hosts
    assert loaded.shim_settings().triton_url == f"{hosts[1]}:8001"


@pytest.mark.parametrize(("key", "used"), [("", True), ("local_sockets: false", False), ("local_sockets: true", True)])
def test_a_deployment_closes_the_shim_s_way_past_the_server(key: str, used: bool, tmp_path: Path) -> None:
    """`serve` and `shim` both take it from there."""
    assert load(BASE + f"openai: {{{key}}}", tmp_path).shim_settings().local_sockets is used


def test_the_key_s_file_is_relative_to_the_deployment(tmp_path: Path) -> None:
    loaded = load(BASE + "server: {api_key_file: secrets/key}", tmp_path)
    assert loaded.server.api_key_file == tmp_path / "secrets" / "key"


def test_each_fault_has_its_line(tmp_path: Path) -> None:
    said = fault("model: 3\nengine: {kind: replay}\nserver: {http_port: 0, hst: x}", tmp_path)
    assert said.splitlines() == [
        "model: expected a valid string, got 3",
        "server.http_port: expected at least 1, got 0",
        "server.hst: unknown key; did you mean host?",
    ]


def test_a_missing_file_says_where_examples_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: no such file; deployments/ has examples"):
        load_deployment(tmp_path / "none.yaml", {})


def test_ports_of_the_environment_win_over_the_file(tmp_path: Path) -> None:
    text = BASE + "server: {http_port: 1000, grpc_port: 1001}"
    loaded = load(text, tmp_path, HTTP_PORT="2000", METRICS_PORT="2002", OPENAI_PORT="2003", GRPC_PORT="")
    ports = (loaded.server.http_port, loaded.server.grpc_port, loaded.server.metrics_port, loaded.openai.port)
    assert ports == (2000, 1001, 2002, 2003)


@pytest.mark.parametrize("text", ["abc", "0", "65536", "-1", "²"])
def test_a_port_of_the_environment_is_checked(text: str, tmp_path: Path) -> None:
    said = fault(BASE, tmp_path, HTTP_PORT=text)
    assert said == f"HTTP_PORT: expected a port from 1 to 65535 in the environment, got {text!r}"


def test_a_section_that_is_none_is_told_with_ports_in_the_environment(tmp_path: Path) -> None:
    assert fault(BASE + "server: 3", tmp_path, HTTP_PORT="2000").startswith("server: expected keys and values")


def test_a_revision_covers_all_files_that_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, tokenizer and chat template come by one call; code of a checkpoint is not among the patterns."""
    sent: dict[str, Any] = {}

    def snapshot_download(name: str, /, **given: Any) -> str:
        sent.update(given, name=name)
        return str(tmp_path)

    monkeypatch.setattr(hub, "_import_library", lambda *_: SimpleNamespace(snapshot_download=snapshot_download))
    file = tmp_path / "deployment.yaml"
    file.write_text("model: qwen3-0.6b\nrevision: 0123abc\nengine: {kind: replay}\n")
    resolve_model(load_deployment(file, environment={}))
    assert (sent["name"], sent["revision"]) == ("Qwen/Qwen3-0.6B", "0123abc")
    assert not any(fnmatch("modeling_qwen.py", pattern) for pattern in sent["allow_patterns"])


@pytest.mark.parametrize(
    ("engine", "more", "workers", "instances"),
    [
        ("{kind: replay}", "", 1, 1),
        ("{kind: replay}", "openai: {workers: 3}", 3, 1),
        ("{kind: replay}", "repository: {bls_instances: 2}", 1, 2),
        ("{kind: vllm}", "", 4, 2),
        ("{kind: vllm}", "openai: {workers: auto}\nrepository: {bls_instances: auto}", 4, 2),
        ("{kind: vllm}", "openai: {workers: 2}", 2, 2),
        ("{kind: vllm}", "openai: {workers: 1}", 1, 1),
        ("{kind: vllm}", "openai: {workers: 8}", 8, 2),
        ("{kind: vllm}", "openai: {workers: 1, enabled: false}", 1, 4),
        ("{kind: vllm}", "repository: {bls_instances: 5}", 4, 5),
    ],
)
def test_processes_by_cores_and_engine(
    engine: str, more: str, workers: int, instances: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 16 cores: an engine that computes on the CPU gets all of them."""
    monkeypatch.setattr(schema, "usable_cores", lambda: 16)
    loaded = load(f"model: m\nengine: {engine}\n{more}\n", tmp_path)
    assert (loaded.shim_settings().workers, loaded.bls_instances()) == (workers, instances)


@pytest.mark.parametrize("value", ["0", "many", "true", "1.5", "257"])
def test_a_number_of_processes_is_auto_or_a_number(value: str, tmp_path: Path) -> None:
    for section, key in (("openai", "workers"), ("repository", "bls_instances")):
        found = fault(f"{BASE}{section}: {{{key}: {value}}}\n", tmp_path)
        assert found == f"{section}.{key}: expected auto, or a number from 1 to 256, got {yaml.safe_load(value)!r}"
