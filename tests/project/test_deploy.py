"""What lies in deploy/ fits what it deploys: metrics' names, ports, deployments, the image's own paths."""

from __future__ import annotations

import ast
import json
import re
from typing import Any, get_args

import pytest
import yaml

from qwen_triton_build.deployment.schema import ClosedApi, load_deployment
from tests.support.folders import ROOT

DEPLOY = ROOT / "deploy"
METRICS = ROOT / "backend_src" / "qwen_triton" / "triton" / "metrics.py"
NAME = re.compile(r"qwen_triton_[a-z_]+")


def published() -> set[str]:
    """The names that the models publish; the module itself needs Triton, so its source is read."""
    tables = {"_HISTOGRAMS", "_COUNTERS", "_STATES"}
    found: dict[str, set[str]] = {}
    for node in ast.parse(METRICS.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in tables:
            found[node.targets[0].id] = set(ast.literal_eval(node.value))
    parts = {f"{name}_{part}" for name in found["_HISTOGRAMS"] for part in ("bucket", "sum", "count")}
    return {
        f"qwen_triton_{name}" for name in parts | found["_COUNTERS"] | found["_STATES"] | {"requests_finished_total"}
    }


def dashboard() -> dict[str, Any]:
    return dict(json.loads((DEPLOY / "grafana" / "qwen-triton.json").read_text()))


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    sent = {
        name for panel in dashboard()["panels"] for target in panel["targets"] for name in NAME.findall(target["expr"])
    }
    assert sent <= published()
    assert len(dashboard()["panels"]) == len({panel["id"] for panel in dashboard()["panels"]})


def test_alerts_ask_for_metrics_that_there_are() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    sent = {name for group in groups for rule in group["rules"] for name in NAME.findall(rule["expr"])}
    assert sent
    assert sent <= published()


@pytest.mark.parametrize("name", ["cpu.yaml", "trtllm.yaml", "vllm.yaml"])
def test_the_images_deployments_are_sound_and_listen_outside(name: str) -> None:
    """A container that listens on its own loopback answers nobody."""
    deployment = load_deployment(DEPLOY / "image" / name, environment={})
    assert (deployment.server.host, deployment.openai.host) == ("0.0.0.0", "0.0.0.0")


def test_compose_publishes_the_openai_server_and_the_metrics() -> None:
    """On this machine only. Triton's own ports, which take no key, are a commented line to choose."""
    deployment = load_deployment(DEPLOY / "image" / "cpu.yaml", environment={})
    server = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]["server"]
    inside = {int(port.rpartition(":")[2]) for port in server["ports"]}
    triton = deployment.server
    assert inside == {triton.metrics_port, deployment.openai.port}
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    commented = re.findall(r"^    # (ports: .*)$", (DEPLOY / "docker-compose.yml").read_text(), re.MULTILINE)
    (all_ports,) = [yaml.safe_load(line)["ports"] for line in commented]
    every = {triton.http_port, triton.grpc_port, triton.metrics_port, deployment.openai.port}
    assert {int(port.rpartition(":")[2]) for port in all_ports} == every


def test_kubernetes_probes_and_ports_are_the_image_s() -> None:
    (pod, service) = yaml.safe_load_all((DEPLOY / "kubernetes" / "single-node.yaml").read_text())
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002, "openai": 9000}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    assert [port["name"] for port in service["spec"]["ports"]] == ["openai", "metrics"]
    health = container["startupProbe"]["exec"]["command"]
    assert json.dumps(health) in (ROOT / "Dockerfile").read_text()


def manifest(name: str) -> list[dict[str, Any]]:
    return [dict(part) for part in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())]


def test_the_network_policy_leaves_triton_s_own_ports_to_those_who_ask() -> None:
    """Policies add up: one lets everybody reach the shim and the metrics, the other some pods reach Triton."""
    (pod, _) = manifest("single-node.yaml")
    (everybody,) = manifest("network-policy.yaml")
    service, some = manifest("triton-ports.yaml")
    labels = pod["spec"]["template"]["metadata"]["labels"]
    for policy in (everybody, some):
        assert policy["spec"]["podSelector"]["matchLabels"] == labels
        assert policy["spec"]["policyTypes"] == ["Ingress"]
    (ingress,) = everybody["spec"]["ingress"]
    assert ([port["port"] for port in ingress["ports"]], "from" in ingress) == (["openai", "metrics"], False)
    (ingress,) = some["spec"]["ingress"]
    assert [port["port"] for port in ingress["ports"]] == ["http", "grpc"]
    assert ingress["from"] == [{"podSelector": {"matchLabels": {"qwen-triton/asks-triton": "yes"}}}]
    assert service["spec"]["selector"] == labels
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http", "grpc"]


def test_the_multi_node_manifest_closes_the_same_apis() -> None:
    """Its mpirun is called directly; the header's name has a colon, so no request can have it."""
    leader = manifest("multi-node.yaml")[0]["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]
    (apis, name) = re.findall(r"^closed=([a-z,-]+):(\S+)=0$", leader["args"][0], re.MULTILINE)[0]
    assert apis.split(",") == list(get_args(ClosedApi))
    assert ":" in name
    for flag in ("--http-restricted-api", "--grpc-restricted-protocol"):
        assert f"{flag}=$closed" in leader["args"][0]


def test_the_multi_node_manifest_is_yaml_with_a_rank_for_each_gpu() -> None:
    manifest = yaml.safe_load((DEPLOY / "kubernetes" / "multi-node.yaml").read_text())
    group = manifest["spec"]["leaderWorkerTemplate"]
    (leader,) = group["leaderTemplate"]["spec"]["containers"]
    gpus = leader["resources"]["limits"]["nvidia.com/gpu"] * group["size"]
    assert f"seq 1 {gpus - 1})" in leader["args"][0]


def test_the_build_context_holds_what_the_dockerfile_copies() -> None:
    """.dockerignore lets in only what is named."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    lines = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = [word for line in lines for word in line.split()[:-1] if not word.startswith("$")]
    copied += re.findall(r"^ARG (?:DEMO|BAKE)=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for path in copied:
        assert any(path == a or path.startswith(f"{a}/") for a in allowed), path
