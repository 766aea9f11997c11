"""What lies in deploy/ fits what it deploys: metrics' names, ports, deployments, the image's own paths."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
import yaml

from qwen_triton_build.deployment.schema import load_deployment
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
    asked = {
        name for panel in dashboard()["panels"] for target in panel["targets"] for name in NAME.findall(target["expr"])
    }
    assert asked <= published()
    assert len(dashboard()["panels"]) == len({panel["id"] for panel in dashboard()["panels"]})


def test_alerts_ask_for_metrics_that_there_are() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    asked = {name for group in groups for rule in group["rules"] for name in NAME.findall(rule["expr"])}
    assert asked
    assert asked <= published()


@pytest.mark.parametrize("name", ["cpu.yaml", "trtllm.yaml"])
def test_the_images_deployments_are_sound_and_listen_outside(name: str) -> None:
    """A container that listens on its own loopback answers nobody."""
    deployment = load_deployment(DEPLOY / "image" / name, environment={})
    assert (deployment.server.host, deployment.openai.host) == ("0.0.0.0", "0.0.0.0")


def test_compose_publishes_the_ports_of_the_image_s_deployment() -> None:
    deployment = load_deployment(DEPLOY / "image" / "cpu.yaml", environment={})
    server = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]["server"]
    inside = {int(port.rpartition(":")[2]) for port in server["ports"]}
    triton = deployment.server
    assert inside == {triton.http_port, triton.grpc_port, triton.metrics_port, deployment.openai.port}


def test_kubernetes_probes_and_ports_are_the_image_s() -> None:
    (pod, service) = yaml.safe_load_all((DEPLOY / "kubernetes" / "single-node.yaml").read_text())
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002, "openai": 9000}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    health = container["startupProbe"]["exec"]["command"]
    assert json.dumps(health) in (ROOT / "Dockerfile").read_text()


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
