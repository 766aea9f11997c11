"""Every check of the doctor: what makes it fail, in its words, with the remedy; and the whole on a sound deployment."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwen_triton_build import processes
from qwen_triton_build.cli import main
from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.doctor import engine_checks, installed_trtllm, machine_checks, model_checks
from qwen_triton_build.doctor.all_checks import checks_for
from qwen_triton_build.doctor.check import Check, CheckWarning, Finding, run_checks
from qwen_triton_build.doctor.report import as_json, worst
from qwen_triton_build.doctor.site import Site
from qwen_triton_build.launch import preflight
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from qwen_triton_build.trtllm import gpus
from qwen_triton_build.trtllm.gpus import Gpu
from tests.support.engine_folders import write_engine

H100 = Gpu("NVIDIA H100 80GB HBM3", 81_559, 9.0, "560.35.03")
Break = Callable[[pytest.MonkeyPatch, "Maker"], Site]


class Maker:
    """Makes sites: a sound deployment, or one that is changed."""

    def __init__(self, model_dir: Path, folder: Path) -> None:
        self.folder = folder
        self.model_dir = model_dir

    def replay(self, **keys: Any) -> Site:
        given = {"model": str(self.model_dir), "engine": {"kind": "replay"}, **keys}
        return Site(Deployment.model_validate(given), environment={})

    def built(self, found: list[Gpu] | None = None, engine: dict[str, Any] | None = None, **keys: Any) -> Site:
        """With a TensorRT-LLM engine of two ranks, and GPUs."""
        folder = self.folder / "engine"
        if not folder.exists():
            write_engine(folder)
        settings = {"kind": "tensorrtllm", "engine_dir": folder, **(engine or {})}
        given = {"model": str(self.model_dir), "engine": settings, **keys}
        site = Site(Deployment.model_validate(given), environment={"NVIDIA_TRITON_SERVER_VERSION": "24.10"})
        site.__dict__["gpus"] = [H100, H100] if found is None else found
        return site

    def model_without(self, *names: str, **changes: str) -> Path:
        """A copy of the model's folder that lacks files, or has others in their place."""
        copy = self.folder / "model"
        shutil.copytree(self.model_dir, copy)
        for name in names:
            (copy / name).unlink()
        for name, text in changes.items():
            (copy / f"{name}.json").write_text(text)
        return copy

    def repository(self, model_name: str, old: str, new: str) -> Site:
        """A rendered repository in which one text is another."""
        site = self.replay()
        folder = render(placeholders(site.deployment, self.model_dir), self.folder / "repository")
        file = folder / model_name / "config.pbtxt"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        site.repository = folder
        return site


@pytest.fixture
def make(qwen25_folder: Path, tmp_path: Path) -> Maker:
    return Maker(qwen25_folder, tmp_path)


def look(site: Site, name: str) -> Finding:
    """The first finding of one check."""
    (check,) = [c for c in checks_for(site) if c.name == name]
    return run_checks([check], site)[0]


def with_version(monkeypatch: pytest.MonkeyPatch, make: Maker) -> Site:
    monkeypatch.setattr(preflight, "version", {"numpy": "2.1.3"}.__getitem__)
    return make.replay()


def attribute(owner: Any, name: str, value: Any, kind: str = "replay") -> Break:
    """A machine on which something is otherwise."""

    def breaking(monkeypatch: pytest.MonkeyPatch, make: Maker) -> Site:
        monkeypatch.setattr(owner, name, value)
        return make.built() if kind == "built" else make.replay()

    return breaking


def other_model(*names: str, keys: dict[str, Any] | None = None, **changes: str) -> Break:
    return lambda _, make: make.replay(model=str(make.model_without(*names, **changes)), **(keys or {}))


def engine_file(change: Callable[[Path], object]) -> Break:
    """An engine folder in which something is otherwise."""

    def breaking(_: pytest.MonkeyPatch, make: Maker) -> Site:
        change(write_engine(make.folder / "engine"))
        return make.built()

    return breaking


def limit(soft: int) -> Callable[[int], tuple[int, int]]:
    return lambda _: (soft, -1)


def disk(free_mib: int) -> Callable[[object], SimpleNamespace]:
    return lambda _: SimpleNamespace(free=free_mib << 20)


def big_plan(folder: Path) -> None:
    with (folder / "rank1.engine").open("wb") as file:
        file.truncate(90 << 30)  # a sparse file


FAULTS: list[tuple[str, str, Break, str, str]] = [
    ("glibc", "error", attribute(preflight.platform, "libc_ver", lambda: ("glibc", "2.31")), "glibc 2.31", "Debian 12"),
    ("libpython", "error", attribute(machine_checks, "python_library", lambda: _raise("no libpython3.11; install it")),
     "no libpython3.11", "install it"),
    ("python environment", "error", attribute(machine_checks.sys, "executable", "/nowhere/python"),
     "has no python3", "virtual"),
    ("numpy", "error", with_version, "numpy 2.1.3", "pip install 'numpy<2'"),
    ("tritonserver", "error", lambda _, make: make.replay(server={"tritonserver": Path("/nowhere/tritonserver")}),
     "/nowhere/tritonserver is not an executable", ""),
    ("open Triton", "warning", lambda _, make: make.replay(server={"host": "0.0.0.0", "expose": ["grpc"]}),
     "Triton's grpc at 0.0.0.0, of release 24.10, has 34 known vulnerabilities: CVE-2025-23310, CVE-2025-23311, ",
     "take an image of 26.07 or newer, or put the port on loopback by server.expose"),
    ("private files", "warning", attribute(processes, "keep_files_private", lambda: False),
     "this kernel takes no filter (seccomp), so other users of the machine can read prompts in /dev/shm",
     "without other users"),
    ("shared memory", "error", attribute(preflight.shutil, "disk_usage", disk(3)), "/dev/shm has 3 MiB", ""),
    ("shared memory", "warning", attribute(machine_checks.shutil, "disk_usage", disk(20)), "/dev/shm has 20 MiB", "--shm-size"),
    ("open files", "warning", attribute(machine_checks.resource, "getrlimit", limit(1024)), "1024", "ulimit -n 65536"),
    ("locked memory", "warning", attribute(machine_checks.resource, "getrlimit", limit(65536), "built"),
     "64 KiB", "memlock=-1"),
    ("disk", "warning", attribute(machine_checks.shutil, "disk_usage", disk(100)), "has 100 MiB free", "TMPDIR"),
    ("disk", "error", attribute(machine_checks.os, "access", lambda *_: False), "cannot be written", "--tmpfs /tmp"),
    ("OpenAI shim", "warning", attribute(machine_checks, "missing_shim_packages", lambda: ["uvicorn"]), "uvicorn is not",
     "pip install 'qwen-triton[shim]'"),
    ("model", "error", lambda _, make: make.replay(model="./nowhere"), "'./nowhere' is neither a folder", ""),
    ("model", "warning", lambda _, make: make.replay(model="Qwen/Qwen3-0.6B"), "is no folder here", "give a folder"),
    ("tokenizer files", "error", other_model("tokenizer.json"), "has no tokenizer.json", "fast tokenizer"),
    ("tokenizer", "error", other_model(tokenizer='{"model": '), "cannot be read", "fetch the checkpoint's files again"),
    ("chat template", "warning", other_model(tokenizer_config="{}"), "has no chat template", "Instruct"),
    ("template fills", "error", other_model(tokenizer_config='{"chat_template": "{% for x in %}"}'), "", ""),
    ("end ids", "warning", other_model("generation_config.json"), "neither generation_config.json", "copy"),
    ("eos token", "warning", other_model(generation_config='{"eos_token_id": 7}'), "generation ends at [7]",
     "from one checkpoint"),
    ("ids and vocabulary", "error", other_model(config='{"vocab_size": 1000}'), "id 151645", "one checkpoint"),
    ("context", "warning", lambda _, make: make.replay(repository={"max_context": 40_000}),
     "repository.max_context is 40000 and the checkpoint has 32768 tokens, which hold", "lower it to 32768"),
    ("context", "warning", other_model(config='{"max_position_embeddings": 2048}', keys={"repository": {"max_context": 8192}}),
     "repository.max_context is 8192 and the checkpoint has 2048 tokens, which hold", "lower it to 2048"),
    ("context", "warning",
     other_model("config.json", tokenizer_config='{"model_max_length": 2048}', keys={"repository": {"max_context": 8192}}),
     "repository.max_context is 8192 and the checkpoint has 2048 tokens, which hold", "lower it to 2048"),
    ("context", "warning",
     lambda _, make: make.replay(engine={"kind": "replay", "max_context": 64}, repository={"max_context": 65}),
     "repository.max_context is 65 and the engine has 64 tokens, which hold", "lower it to 64"),
    ("architecture", "error", other_model(config='{"model_type": "qwen3_moe"}', keys={"engine": {"kind": "openvino"}}),
     "config.json: model_type: 'qwen3_moe' is not covered (only 'qwen2' and 'qwen3' are)", "use a dense Qwen2"),
    ("weights", "error", lambda _, make: make.replay(engine={"kind": "openvino"}), "", ""),
    ("engine folder", "error", engine_file(lambda folder: (folder / "config.json").unlink()), "config.json: no such file",
     "trtllm-build"),
    ("engine folder", "error", engine_file(lambda folder: (folder / "config.json").write_text("{}")), "has no version",
     "build it again"),
    ("engine version", "error", engine_file(lambda folder: write_engine(folder, "1.0.0")),
     "the engine is of TensorRT-LLM 1.0.0, and 0.14.0 is installed", "image of its version"),
    ("engine version", "warning", attribute(engine_checks, "installed_version", lambda _: None, "built"),
     "no TensorRT-LLM is found", "image that built it"),
    ("rank files", "error", engine_file(lambda folder: (folder / "rank1.engine").unlink()), "rank1.engine is missing",
     "build it again"),
    ("rank files", "error", engine_file(lambda folder: (folder / "rank0.engine").write_bytes(b"")), "rank0.engine", ""),
    ("rank files", "warning", engine_file(lambda folder: (folder / "rank2.engine").touch()), "rank2.engine belongs to no",
     "delete it"),
    ("GPU driver", "error", lambda _, make: make.built(found=[]), "no GPU is visible", "--gpus all"),
    ("GPU driver", "error", lambda _, make: make.built(found=[Gpu("A100", 40_000, 8.0, "470.82.01")]), "driver 470.82.01",
     "install 535"),
    ("GPU count", "error", lambda _, make: make.built(found=[H100]), "1 GPUs for 2 ranks (tp 1 × pp 2)", "build with fewer"),
    ("GPU memory", "error", engine_file(big_plan), "a rank needs some 105984 MiB and the GPU has 81559", "quantise"),
    ("mpirun", "error", attribute(preflight.shutil, "which", lambda _: None, "built"), "mpirun: not found", ""),
    ("batch, beam, length", "error", lambda _, make: make.built(repository={"max_batch_size": 64}),
     "repository.max_batch_size: 64, and the engine", "lower it"),
    ("batch, beam, length", "error", lambda _, make: make.built(engine={"max_beam_width": 4}), "engine.max_beam_width: 4", ""),
    ("engine features", "error", lambda _, make: make.built(engine={"enable_kv_cache_reuse": True}),
     "engine.enable_kv_cache_reuse: needs an engine built with use_paged_context_fmha", "leave it out"),
    ("vocabulary", "error", lambda _, make: make.built(model=str(make.model_without(config='{"vocab_size": 1000}'))),
     "has a vocabulary of 1000, and the engine of 152064", "checkpoint"),
    ("repository filled", "error", lambda _, make: make.repository("ensemble", "max_batch_size: 64", "max_batch_size: ${n}"),
     "ensemble/config.pbtxt: ${n} is not filled", "give n a value"),
    ("repository readable", "error", lambda _, make: make.repository("ensemble", "max_batch_size", "max_bach_size"),
     "ensemble/config.pbtxt: not a model configuration", ""),
    ("parameters known", "warning", lambda _, make: make.repository("preprocessing", '"tokenizer_dir"', '"tokeniser_dir"'),
     "preprocessing/config.pbtxt: parameter tokeniser_dir has no meaning", "spell it"),
    ("streaming", "warning", lambda _, make: make.replay(repository={"decoupled": False}), "not decoupled", "decoupled: true"),
    ("streaming", "error", lambda _, make: make.repository("tensorrt_llm_bls", "decoupled: true", "decoupled: false"),
     "tensorrt_llm is decoupled, tensorrt_llm_bls not decoupled", "alike"),
    ("model code", "error", lambda _, make: without_code(make), "/preprocessing/1: no such folder", "as a whole"),
]  # fmt: skip


def _raise(message: str) -> Path:
    raise machine_checks.ConfigurationError(message)


def without_code(make: Maker) -> Site:
    site = make.repository("ensemble", "max_batch_size: 64", "max_batch_size: 64")
    assert site.repository is not None
    shutil.rmtree(site.repository / "preprocessing" / "1")
    return site


@pytest.mark.parametrize(
    ("name", "outcome", "breaking", "found", "remedy"), FAULTS, ids=[f"{n}-{o}" for n, o, *_ in FAULTS]
)
def test_each_check_finds_its_fault(
    name: str, outcome: str, breaking: Break, found: str, remedy: str, monkeypatch: pytest.MonkeyPatch, make: Maker
) -> None:
    """What was found, what is expected, and what to do about it."""
    finding = look(breaking(monkeypatch, make), name)
    assert (finding.check, finding.outcome) == (name, outcome), finding
    assert found in finding.found
    assert remedy in finding.remedy
    assert finding.expected


def test_a_taken_port_is_found(make: Maker) -> None:
    """With the key that moves it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        finding = look(make.replay(server={"http_port": port}), "ports")
    assert finding.outcome == "error"
    assert finding.found == f"server.http_port: port {port} cannot be used (Address already in use)"
    assert "HTTP_PORT=…" in finding.remedy


def test_every_check_has_a_test_that_makes_it_fail(make: Maker) -> None:
    """Those of a built engine are all there are."""
    assert {check.name for check in checks_for(make.built())} == {name for name, *_ in FAULTS} | {"ports"}


def test_a_sound_engine_passes_every_check_of_it(make: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At least fifteen checks look at it. It has two ranks, and this machine may have no mpirun."""
    mpirun = tmp_path / "bin" / "mpirun"
    mpirun.parent.mkdir()
    mpirun.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{mpirun.parent}:{os.environ['PATH']}")
    site = make.built()
    findings = run_checks(engine_checks.CHECKS, site)
    assert [f.outcome for f in findings] == ["ok"] * len(engine_checks.CHECKS), findings
    assert len(checks_for(site)) >= 15


def test_what_depends_on_a_failed_check_is_skipped(make: Maker) -> None:
    """One fault, one error: not the same ten times."""
    (make.folder / "engine").mkdir()
    findings = run_checks(engine_checks.CHECKS, make.built())
    assert [f.outcome for f in findings] == ["error", *["skipped"] * (len(engine_checks.CHECKS) - 1)]


def test_several_faults_of_one_check_are_several_findings(make: Maker) -> None:
    site = make.built(engine={"max_beam_width": 4}, repository={"max_batch_size": 64})
    (check,) = [c for c in engine_checks.CHECKS if c.name == "batch, beam, length"]
    assert len(run_checks([check], site)) == 2


def test_the_exit_code_is_the_worst_outcome() -> None:
    def doubt(_: Site) -> str:
        raise CheckWarning("odd; look")

    site = Site(Deployment.model_validate({"model": "x", "engine": {"kind": "replay"}}))
    fine = Check("fine", "anything", lambda _: "well")
    odd = Check("odd", "nothing", doubt)
    wrong = Check("wrong", "nothing", lambda _: str(_raise("bad; mend")))
    assert [worst(run_checks(checks, site)) for checks in ([fine], [fine, odd], [odd, wrong, fine])] == [0, 1, 2]
    assert json.loads(as_json(run_checks([odd], site))) == [
        {"check": "odd", "outcome": "warning", "found": "odd", "expected": "nothing", "remedy": "look"}
    ]


def test_before_a_start_only_quick_checks_are_made(make: Maker) -> None:
    """Loading the tokenizer is left to the server."""
    quick = {f.check for f in run_checks(checks_for(make.replay()), make.replay(), thorough=False)}
    assert {c.name for c in model_checks.CHECKS if c.thorough} & quick == set()
    assert "tokenizer files" in quick


def test_the_command_reports_and_tells_by_its_exit_code(
    make: Maker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(
        json.dumps({"model": str(make.model_without("generation_config.json")), "engine": {"kind": "replay"}})
    )
    code = main(["doctor", str(file), "--json"])
    found = {f["check"]: f["outcome"] for f in json.loads(capsys.readouterr().out)}
    assert found["end ids"] == "warning"
    assert code == (2 if "error" in found.values() else 1)
    main(["doctor", str(file)])
    assert "remedy:   answers may not end, copy generation_config.json" in capsys.readouterr().out


def test_gpus_are_those_of_nvidia_smi_that_the_server_may_use(tmp_path: Path) -> None:
    """With their driver; a program of that name stands in."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nfor i in 1 2; do echo 'NVIDIA H100 80GB HBM3, 81559, 9.0, 560.35.03'; done\n")
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert gpus.visible_gpus(path) == [H100, H100]
    assert gpus.visible_gpus({**path, "CUDA_VISIBLE_DEVICES": "1"}) == [H100]


def test_trtllm_s_version_is_its_package_s_else_the_image_s(tmp_path: Path) -> None:
    """NVIDIA's packages are in the system's Python, not in ours."""
    assert installed_trtllm.installed_version({}, (str(tmp_path),)) is None
    assert installed_trtllm.installed_version({"NVIDIA_TRITON_SERVER_VERSION": "25.08"}, (str(tmp_path),)) == "0.21.0"
    (tmp_path / "python3.10/dist-packages/tensorrt_llm-0.14.0.dist-info").mkdir(parents=True)
    assert installed_trtllm.installed_version({}, (str(tmp_path),)) == "0.14.0"
