"""What lies in deploy/ fits what it deploys: metrics' names, ports, deployments, the image's own paths."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml

from qwen_triton_build.deployment.schema import ClosedApi, Deployment, load_deployment
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


POD_KEYS = {"leaderTemplate", "workerTemplate"}
GROUP_KEYS = POD_KEYS | {"size", "restartPolicy", "resizePolicy", "subGroupPolicy", "volumeClaimTemplates"}
SET_KEYS = {"replicas", "leaderWorkerTemplate", "rolloutStrategy", "startupPolicy", "networkConfig"}
"""Keys of a LeaderWorkerSet, as its controller's v1 has them; a pod in it is Kubernetes' own."""


def resources() -> list[Any]:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [pytest.param(part, id=f"{f.name}-{part['kind']}") for f in files for part in manifest(f.name)]


@pytest.mark.parametrize("resource", resources())
def test_a_manifest_is_what_kubernetes_takes(resource: dict[str, Any]) -> None:
    """By the schemas of Kubernetes 1.31, unknown keys refused; a LeaderWorkerSet has no schema there, its pods have."""
    if resource["kind"] != "LeaderWorkerSet":
        kubernetes_validate.validate(resource, "1.31", strict=True)
        return
    spec = resource["spec"]
    group = spec["leaderWorkerTemplate"]
    assert (resource["apiVersion"], set(spec) - SET_KEYS, set(group) - GROUP_KEYS) == (
        "leaderworkerset.x-k8s.io/v1",
        set(),
        set(),
    )
    assert group["restartPolicy"] in ("None", "RecreateGroupOnPodRestart")
    for name in POD_KEYS:
        pod = {"apiVersion": "v1", "kind": "Pod", **group[name]}
        pod["metadata"] = {"name": "any", **pod["metadata"]}
        kubernetes_validate.validate(pod, "1.31", strict=True)


def test_a_wrong_manifest_is_found() -> None:
    (pod, _) = manifest("single-node.yaml")
    pod["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.31", strict=True)


def embedded(text: str, folder: Path) -> Deployment:
    """The deployment in a ConfigMap."""
    (folder / "deployment.yaml").write_text(text)
    return load_deployment(folder / "deployment.yaml", environment={})


def test_the_vllm_manifest_asks_for_the_gpus_that_the_engine_takes(tmp_path: Path) -> None:
    (config, pod, service) = manifest("vllm.yaml")
    deployment = embedded(config["data"]["deployment.yaml"], tmp_path)
    template = pod["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == engine_keys(deployment)["tensor_parallel_size"]
    assert (deployment.server.host, deployment.openai.host) == ("0.0.0.0", "0.0.0.0")
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= deployment.server.ready_timeout_s
    assert service["spec"]["selector"] == template["metadata"]["labels"] == pod["spec"]["selector"]["matchLabels"]
    (everybody,) = manifest("network-policy.yaml")
    assert everybody["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert {"mountPath": "/cache", "name": "cache"} in container["volumeMounts"]


def engine_keys(deployment: Deployment) -> dict[str, Any]:
    return deployment.engine.model_dump(exclude_unset=True)


def test_all_nodes_of_a_vllm_engine_are_given_the_same(tmp_path: Path) -> None:
    """The worker's flags are the leader's keys, but the rank; both name the leader; the GPUs are the product."""
    (config, group, _) = manifest("vllm-multi-node.yaml")
    leader = embedded(config["data"]["deployment.yaml"], tmp_path)
    keys = engine_keys(leader)
    templates = group["spec"]["leaderWorkerTemplate"]
    (server,) = templates["leaderTemplate"]["spec"]["containers"]
    (worker,) = templates["workerTemplate"]["spec"]["containers"]
    words = shlex.split(worker["args"][0].replace("\\\n", " "))
    first = words.index("serve") + 2
    found = dict(re.findall(r"--(\S+) ([^-]\S*)", " ".join(words[first:])))
    given = {**keys, **keys.pop("extra")}
    del given["kind"], given["python"], given["extra"]
    assert (words[first - 1], found.pop("node-rank"), given.pop("node_rank")) == (leader.model, "$LWS_WORKER_INDEX", 0)
    assert (found.pop("master-addr"), given.pop("master_addr")) == ("$LWS_LEADER_ADDRESS", "LEADER")
    assert "s/LEADER/$LWS_LEADER_ADDRESS/" in server["args"][0]
    assert found == {name.replace("_", "-"): str(value) for name, value in given.items()}
    assert {"--headless", "--skip-tokenizer-init"} <= set(words)
    gpus = server["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus == worker["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus * templates["size"] == keys["tensor_parallel_size"] * keys["pipeline_parallel_size"]
    assert templates["size"] == given["nnodes"]


def test_compose_for_vllm_keeps_what_it_compiles_in_the_image_s_volume() -> None:
    added = yaml.safe_load((DEPLOY / "docker-compose.vllm.yml").read_text())
    server = added["services"]["server"]
    assert server["build"]["target"] == "vllm"
    (volume,) = added["volumes"]
    assert f"{volume}:/cache" in server["volumes"]
    assert "VOLUME /cache" in (ROOT / "Dockerfile").read_text()
    deployment = load_deployment(DEPLOY / "image" / "vllm.yaml", environment={})
    assert any(mount.endswith(f":{deployment.model}:ro") for mount in server["volumes"])
    assert server["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
