"""`doctor --model-repository DIR` alone: what is served is read from the repository, rendered here or filled otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.cli import main
from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.doctor import repository_checks
from qwen_triton_build.doctor.all_checks import checks_for
from qwen_triton_build.doctor.check import run_checks
from qwen_triton_build.doctor.filled_repository import deployment_of
from qwen_triton_build.doctor.site import Site
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from tests.support.engine_folders import write_engine
from tests.support.folders import ROOT
from tests.support.stock_fill import PLAIN, run_commands


def rendered(model_dir: Path, folder: Path, **sections: Any) -> Path:
    deployment = Deployment.model_validate({"model": str(model_dir), **sections})
    return render(placeholders(deployment, model_dir), folder / "repository")


def change(repository: Path, model: str, old: str, new: str) -> None:
    file = repository / model / "config.pbtxt"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_repository_with_an_engine_of_ours(qwen25_folder: Path, tmp_path: Path) -> None:
    """Engine and options are those it was rendered from."""
    engine = {"kind": "replay", "mode": "scripts", "scripts": [[1, 2], [3]], "step_ms": 2.5}
    settings = {"max_batch_size": 7, "prompt_format": "chat", "decoupled": False}
    repository = rendered(qwen25_folder, tmp_path, engine=engine, repository=settings)
    found = deployment_of(repository)
    expected = Deployment.model_validate({"model": str(qwen25_folder), "engine": engine, "repository": settings})
    assert (found.model, found.engine) == (expected.model, expected.engine)
    assert {key: getattr(found.repository, key) for key in settings} == settings
    assert not found.openai.enabled


def test_a_repository_with_nvidias_engine(qwen25_folder: Path, tmp_path: Path) -> None:
    """The settings that are compared with the engine's folder."""
    folder = write_engine(tmp_path / "engine")
    engine = {"kind": "tensorrtllm", "engine_dir": str(folder), "max_beam_width": 1, "enable_kv_cache_reuse": False}
    found = deployment_of(rendered(qwen25_folder, tmp_path, engine=engine)).engine
    assert isinstance(found, TensorRtLlmSection)
    assert (found.engine_dir, found.max_beam_width, found.enable_kv_cache_reuse) == (folder, 1, False)
    assert found.batching_strategy == "inflight_fused_batching"


def test_a_repository_that_the_blogs_commands_filled(qwen25_folder: Path, tmp_path: Path) -> None:
    repository = copytree(ROOT / "model_repository", tmp_path / "repository")
    engine_dir = write_engine(tmp_path / "engine")
    places = {"MODEL_FOLDER": str(repository), "TOKENIZER_DIR": f"{qwen25_folder}/", "ENGINE_DIR": str(engine_dir)}
    run_commands(PLAIN, places)
    found = deployment_of(repository)
    assert (Path(found.model), found.repository.decoupled, found.repository.max_batch_size) == (qwen25_folder, False, 4)
    assert isinstance(found.engine, TensorRtLlmSection)
    assert (found.engine.engine_dir, found.engine.batching_strategy) == (engine_dir, "inflight_fused_batching")
    findings = {f.check: f for f in run_checks(repository_checks.CHECKS, Site(found, repository, serves=False))}
    assert findings["repository filled"].outcome == "ok", findings


@pytest.mark.parametrize(
    ("model", "old", "new", "reason"),
    [
        ("preprocessing", '"MODEL"', '"${tokenizer_dir}"', "tokenizer_dir is not filled; give the folder of the"),
        (
            "tensorrt_llm",
            'backend: "python"',
            'backend: "onnx"',
            "backend 'onnx' is none of tensorrtllm and python; fill",
        ),
        (
            "tensorrt_llm",
            'backend: "python"',
            'backend: "tensorrtllm"',
            "gpt_model_path is not filled; give the folder",
        ),
        ("tensorrt_llm", "engine_options", "options_of_engine", "engine_options is not filled; `qwen-triton render`"),
    ],
)
def test_what_is_not_filled_is_named_with_its_file(
    model: str, old: str, new: str, reason: str, qwen25_folder: Path, tmp_path: Path
) -> None:
    repository = rendered(qwen25_folder, tmp_path, engine={"kind": "replay"})
    change(repository, model, old.replace("MODEL", str(qwen25_folder)), new)
    with pytest.raises(ConfigurationError) as refusal:
        deployment_of(repository)
    assert str(refusal.value).startswith(f"{repository / model / 'config.pbtxt'}: {reason}")


def test_ports_and_shim_are_not_checked(qwen25_folder: Path, tmp_path: Path) -> None:
    """A repository does not say at which ports it is served."""
    repository = rendered(qwen25_folder, tmp_path, engine={"kind": "replay"})
    whole = {check.name for check in checks_for(Site(deployment_of(repository), repository))}
    alone = {check.name for check in checks_for(Site(deployment_of(repository), repository, serves=False))}
    assert whole - alone == {"ports", "OpenAI shim"}


def test_the_command_takes_a_repository_alone(
    qwen25_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = rendered(qwen25_folder, tmp_path, engine={"kind": "replay"})
    assert main(["doctor", "--model-repository", str(repository), "--json"]) in (0, 1)
    found = {f["check"]: f["outcome"] for f in json.loads(capsys.readouterr().out)}
    assert {found[name] for name in ("tokenizer", "repository readable", "model code", "streaming")} == {"ok"}
    change(repository, "tensorrt_llm", "max_batch_size: ", "max_batch_size: ${triton_max_batch_size} #")
    assert main(["doctor", "--model-repository", str(repository)]) == 2
    assert "${triton_max_batch_size} is not filled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "nothing to check; give a deployment.yaml, --model-repository DIR, or both"),
        (["--model-repository", "/nowhere"], "--model-repository: /nowhere is not a folder"),
        (["--model-repository", "EMPTY"], "preprocessing/config.pbtxt: tokenizer_dir is not filled"),
    ],
)
def test_what_is_no_repository_is_one_line(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *(str(tmp_path) if word == "EMPTY" else word for word in options)]) == 2
    assert reason in capsys.readouterr().err
