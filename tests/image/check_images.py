"""Builds the images and runs them as an operator does: read-only, not as root, without capabilities. `make test-image`.

Each check prints one line when it passes; the first failure exits with code 1. Needs podman and base images
(tests/image/run.sh provides both). The trtllm image is run with the replay engine, because that needs no GPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.fake_vllm import write_fake_vllm  # noqa: E402
from tests.support.fetch_qwen import fetch  # noqa: E402  the tokenizer of the replay engine
from tests.support.live.servers import free_ports  # noqa: E402

CPU, TRTLLM, BAKED, VLLM = (f"localhost/qwen-triton-{name}:test" for name in ("cpu", "trtllm", "baked", "vllm"))
VLLM_BASE = "localhost/vllm-stand-in:test"
"""A Python with a vLLM that computes nothing, in place of vLLM's own image, which needs a GPU."""
PYTHON_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:24.10-trtllm-python-py3"
MOST_MB = {CPU: 700}
READY_S = 300
STOP_S = 60
USER = "10001"
CURL_BODY = {"text_input": "你好，你叫什么名字", "max_tokens": 100, "bad_words": "", "stop_words": ""}
SAFE = ["--read-only", "--tmpfs", "/tmp:rw,size=256m", "--shm-size", "256m", "--cap-drop=ALL"]
SAFE += ["--security-opt=no-new-privileges", "--network=host"]


def podman(*arguments: str, check: bool = True) -> str:
    """What podman prints; its errors end the run."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        sys.exit(f"podman {' '.join(arguments[:3])} …: {done.stderr[-2000:]}")
    return done.stdout.strip()


def holds(what: str, condition: bool, seen: object = "") -> None:
    print(f"{'ok' if condition else 'FAILED':<7} {what} {seen}", flush=True)
    if not condition:
        sys.exit(1)


def build(target: str, tag: str, **arguments: str) -> None:
    started = time.monotonic()
    given = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    podman(
        "build",
        "--pull=missing",
        "--network=host",
        "--format=docker",
        f"--target={target}",
        *given,
        "-t",
        tag,
        str(ROOT),
    )
    size = int(podman("image", "inspect", "--format", "{{.Size}}", tag)) / 1e6
    print(f"built   {target}: {size:.0f} MB in {time.monotonic() - started:.0f} s", flush=True)
    if tag in MOST_MB:
        holds(f"{target} is at most {MOST_MB[tag]} MB", size <= MOST_MB[tag], f"{size:.0f}")


class Container:
    """A container that runs, on free ports of this machine."""

    def __init__(self, image: str, *mounts: str) -> None:
        self.http, grpc, metrics, self.openai = free_ports(4)
        ports = {"HTTP_PORT": self.http, "GRPC_PORT": grpc, "METRICS_PORT": metrics, "OPENAI_PORT": self.openai}
        environment = [part for key, port in ports.items() for part in ("-e", f"{key}={port}")]
        volumes = [part for mount in mounts for part in ("-v", mount)]
        self.id = podman("run", "-d", *SAFE, *environment, *volumes, image)

    def healthy(self) -> bool:
        done = subprocess.run(["podman", "healthcheck", "run", self.id], capture_output=True, check=False)
        return done.returncode == 0

    def running(self) -> bool:
        return self.state("{{.State.Running}}") == "true"

    def state(self, template: str) -> str:
        return podman("inspect", "--format", template, self.id)

    def wait_healthy(self) -> float:
        started = time.monotonic()
        while not self.healthy():
            if not self.running() or time.monotonic() - started > READY_S:
                sys.exit(f"FAILED  it did not become healthy:\n{self.logs()}")
            time.sleep(1)
        return time.monotonic() - started

    def logs(self) -> str:
        done = subprocess.run(["podman", "logs", "--tail", "60", self.id], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def generate(self, **body: Any) -> str:
        return str(self._post(self.http, "/v2/models/ensemble/generate", body)["text_output"])

    def chat(self, model: str, text: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        return self._post(self.openai, "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 32})

    def status(self, path: str) -> int:
        """The status of a POST to Triton's HTTP that is refused."""
        try:
            self._post(self.http, path, {})
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["podman", "exec", self.id, *command], capture_output=True, text=True, check=False)

    def stop(self) -> int:
        podman("stop", "-t", str(STOP_S), self.id)
        return int(self.state("{{.State.ExitCode}}"))

    @staticmethod
    def _post(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=120) as reply:
            return dict(json.load(reply))


@contextmanager
def running(image: str, *mounts: str) -> Iterator[Container]:
    container = Container(image, *mounts)
    try:
        yield container
    finally:
        podman("rm", "-f", "-v", container.id, check=False)


def check_container(container: Container) -> None:
    """What holds for all images."""
    holds("becomes healthy", True, f"after {container.wait_healthy():.0f} s")
    holds("runs as a user of its own", container.execute("id", "-u").stdout.strip() == USER)
    holds("its root cannot be written", container.execute("touch", "/opt/x").returncode != 0)
    answer = container.generate(**CURL_BODY)
    holds("the blog's curl is answered", bool(answer.strip()), repr(answer[:60]))
    holds("Triton's repository API is closed", container.status("/v2/repository/index") == 403)
    modes = container.execute("sh", "-c", "stat -c %a /dev/shm/qwen_triton_*").stdout.split()
    holds("its shared memory is its user's alone", {"600"} <= set(modes) <= {"600", "700"}, modes)  # files and folders


def check_cpu() -> None:
    with running(CPU) as container:
        check_container(container)
        for tool in ("gcc", "cc", "make", "git"):
            holds(f"no {tool} inside", container.execute("sh", "-c", f"command -v {tool}").returncode != 0)
        left = container.execute(
            "sh", "-c", "find / -xdev -name __pycache__ -path '/opt/*' -o -path '*/.cache/pip*' | head"
        )
        holds("no caches inside", left.stdout == "", left.stdout)
        reply = container.chat("qwen-demo", "hello")
        holds("OpenAI's API answers", reply["choices"][0]["finish_reason"] in ("stop", "length"))
        holds("SIGTERM ends it with code 0", container.stop() == 0, container.state("{{.State.ExitCode}}"))
    labels = json.loads(podman("image", "inspect", "--format", "{{json .Labels}}", CPU))
    holds("it has labels", labels.get("org.opencontainers.image.licenses") == "Apache-2.0")
    holds("it has a health check", "health" in podman("image", "inspect", "--format", "{{json .HealthCheck}}", CPU))


def replay_deployment(folder: Path, tokenizer: Path) -> list[str]:
    """Mounts that make the trtllm image play scripts instead of an engine."""
    shutil.copy(ROOT / "tests" / "image" / "replay.yaml", folder / "replay.yaml")
    return [f"{folder / 'replay.yaml'}:/etc/qwen-triton/deployment.yaml:ro", f"{tokenizer}:/models/qwen:ro"]


def check_trtllm(folder: Path, tokenizer: Path) -> None:
    with running(TRTLLM, *replay_deployment(folder, tokenizer)) as container:
        check_container(container)
        text = "one two three four five six seven eight nine ten " * 4
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(container.generate(text_input=text, max_tokens=100)))
        asking.start()
        time.sleep(0.5)
        holds("a request runs while it is stopped", asking.is_alive())
        holds("SIGTERM ends it with code 0", container.stop() == 0, container.state("{{.State.ExitCode}}"))
        asking.join()
        holds("the running request was answered whole", answers == [text])
    for image in (TRITON_IMAGE, TRTLLM):
        print(f"        packages of {image}: {len(base_packages(image))}")
    holds("the base image's own packages are untouched", base_packages(TRITON_IMAGE) == base_packages(TRTLLM))


def build_vllm_base(folder: Path) -> None:
    """The stand-in of vLLM's image: the Python image with another numpy than ours and the fake vLLM."""
    write_fake_vllm(folder / "library", "0.26.0+cpu")
    (folder / "Dockerfile").write_text(
        f"FROM {PYTHON_IMAGE}\n"
        "RUN python3 -m pip install --no-cache-dir 'numpy>=2,<3'\n"
        "COPY library /usr/local/lib/python3.11/site-packages/\n"
        "ENV LD_LIBRARY_PATH=/usr/local/lib\n"
    )
    podman("build", "--pull=missing", "--network=host", "--format=docker", "-t", VLLM_BASE, str(folder))


def check_vllm(tokenizer: Path) -> None:
    with running(VLLM, f"{tokenizer}:/models/qwen:ro") as container:
        check_container(container)
        numpy = ["-c", "import numpy; print(numpy.__version__.split('.')[0])"]
        versions = [container.execute(python, *numpy).stdout.strip() for python in ("python3", "vllm-python")]
        holds("Triton's stub and vLLM have each their own numpy", versions == ["1", "2"], versions)
        holds("what is compiled can be kept", container.execute("touch", "/cache/x").returncode == 0)
        reply = container.chat("qwen", "hello")
        answer = reply["choices"][0]["message"]["content"]  # the stand-in repeats the prompt
        holds("OpenAI's API answers from vLLM", answer.startswith("system\nYou are Qwen"), repr(answer[:40]))
        holds("SIGTERM ends it with code 0", container.stop() == 0, container.state("{{.State.ExitCode}}"))
    holds("vLLM's own packages are untouched", base_packages(VLLM_BASE) == base_packages(VLLM))
    holds("it has a health check", "health" in podman("image", "inspect", "--format", "{{json .HealthCheck}}", VLLM))


def base_packages(image: str) -> list[str]:
    """The packages of the image's own Python, which is not ours."""
    script = "PATH=/usr/local/bin:/usr/bin:/bin python3 -m pip list --format=freeze 2>/dev/null | sort"
    return podman("run", "--rm", "--network=none", "--entrypoint", "sh", image, "-c", script).splitlines()


def check_baked() -> None:
    """The variant with an engine inside: no mounts, and the doctor finds the engine."""
    done = subprocess.run(
        ["podman", "run", "--rm", *SAFE, BAKED, "doctor", "/etc/qwen-triton/deployment.yaml", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    holds("a baked engine is found", found["engine folder"]["outcome"] == "ok", found["engine folder"]["found"])
    holds("its rank files are there", found["rank files"]["outcome"] == "ok", found["rank files"]["found"])
    holds("its tokenizer is there", found["tokenizer"]["outcome"] == "ok", found["tokenizer"]["found"])


def bake(folder: Path, tokenizer: Path) -> str:
    """A folder of the build context with a small engine and its tokenizer; its name for --build-arg BAKE."""
    from tests.support.engine_folders import write_engine

    shutil.rmtree(folder, ignore_errors=True)
    write_engine(folder / "engines" / "qwen")
    shutil.copytree(tokenizer, folder / "models" / "qwen")
    return str(folder.relative_to(ROOT))


def main() -> None:
    tokenizer = fetch() / "qwen2.5"
    baked = ROOT / "bake" / "image-test"
    demo = ROOT / "demo" / "checkpoint"
    try:
        build("trtllm", TRTLLM)
        build("trtllm", BAKED, BAKE=bake(baked, tokenizer))
        check_baked()
        check_trtllm(baked, tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            build_vllm_base(Path(folder))
        build("vllm", VLLM, VLLM_IMAGE=VLLM_BASE)
        check_vllm(tokenizer)
        build("cpu", CPU, **({} if demo.is_dir() else {"DEMO": str(baked.relative_to(ROOT) / "models" / "qwen")}))
        if demo.is_dir():
            check_cpu()
        else:
            print("NOT RUN the cpu image: demo/checkpoint is not there; make demo-model makes it")
    finally:
        shutil.rmtree(baked, ignore_errors=True)
    print("image tests passed")


if __name__ == "__main__":
    main()
