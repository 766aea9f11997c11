"""The repository is rendered whole and right, or not at all and with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.engine_sections import OpenVinoSection, ReplaySection
from qwen_triton_build.deployment.schema import Deployment, Repository
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import MODELS, check_config, fill, render, template_repository

CHECKPOINT = Path("/models/Qwen")


def values(**repository: object) -> dict[str, str | int | float | bool | None]:
    replay = ReplaySection(kind="replay", step_ms=2.5)
    deployment = Deployment(model=str(CHECKPOINT), engine=replay, repository=Repository.model_validate(repository))
    return placeholders(deployment, CHECKPOINT)


def config(folder: Path, model: str) -> str:
    return (folder / model / "config.pbtxt").read_text()


def test_five_models_that_triton_can_read(tmp_path: Path) -> None:
    folder = render(values(), tmp_path / "repository")
    for model in MODELS:
        assert "${" not in config(folder, model).replace("`${placeholders}`", "")
        assert check_config(config(folder, model), model).name == model
        assert (folder / model / "1").is_dir()


def test_the_deployment_s_settings_arrive(tmp_path: Path) -> None:
    settings = values(max_batch_size=7, decoupled=False, prompt_format="chat", max_queue_size=99, engine_door="grpc")
    folder = render(settings, tmp_path / "repository")
    engine = check_config(config(folder, "tensorrt_llm"), "tensorrt_llm")
    assert engine.max_batch_size == 7
    assert not engine.model_transaction_policy.decoupled
    assert engine.dynamic_batching.default_queue_policy.max_queue_size == 99
    options = json.loads(engine.parameters["engine_options"].string_value)
    assert (options["engine"], options["step_ms"]) == ("replay", 2.5)
    text = check_config(config(folder, "preprocessing"), "preprocessing").parameters
    assert text["tokenizer_dir"].string_value == str(CHECKPOINT)
    assert text["prompt_format"].string_value == "chat"
    bls = check_config(config(folder, "tensorrt_llm_bls"), "tensorrt_llm_bls").parameters
    assert bls["engine_door"].string_value == "grpc"


def test_the_format_of_tool_calls_is_the_models_setting(tmp_path: Path) -> None:
    """Of both that render chats."""
    engine = OpenVinoSection(kind="openvino")
    given = {"model": str(CHECKPOINT), "engine": engine, "openai": {"tool_format": "qwen3_coder"}}
    folder = render(placeholders(Deployment(**given), CHECKPOINT), tmp_path / "repository")
    for model in ("preprocessing", "tensorrt_llm_bls"):
        assert check_config(config(folder, model), model).parameters["tool_format"].string_value == "qwen3_coder"


def test_the_openvino_engine_is_told_its_checkpoint() -> None:
    engine = OpenVinoSection(kind="openvino", profile="int8")
    filled = placeholders(Deployment(model=str(CHECKPOINT), engine=engine), CHECKPOINT)
    options = json.loads(str(filled["engine_options"]))
    assert (options["engine"], options["model"], options["profile"]) == ("openvino", str(CHECKPOINT), "int8")
    assert "cache_gib" not in options, "what is not set is the engine's to decide"


def test_quotes_and_backslashes_survive_in_a_string() -> None:
    text = fill('name: "${x}"', {"x": 'a "b" \\ c\nd'}, "m")
    assert check_config(text, "m").name == 'a "b" \\ c\nd'


def test_not_set_is_empty_in_quotes_and_an_error_elsewhere() -> None:
    assert fill('"${x}"', {}, "m") == '""'
    with pytest.raises(ConfigurationError, match=r"^m/config.pbtxt: \$\{x\} has no value$"):
        fill("max_batch_size: ${x}", {}, "m")


def test_a_value_for_no_placeholder_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^max_batch_sise: no config.pbtxt of this engine has such a placeholder"
    ):
        render(values() | {"max_batch_sise": 3}, tmp_path / "repository")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_configuration_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config.pbtxt: not a model configuration: .*max_batch_size"):
        render(values() | {"triton_max_batch_size": "many"}, tmp_path / "repository")
    assert list(tmp_path.iterdir()) == []


def test_an_older_repository_is_replaced_a_folder_of_others_is_not(tmp_path: Path) -> None:
    folder = render(values(), tmp_path / "repository")
    (folder / "old").touch()
    render(values(), folder)
    assert not (folder / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(ConfigurationError, match=r"mine: holds something that render did not write; give an empty"):
        render(values(), tmp_path / "mine")
    assert (tmp_path / "mine" / "file").exists()


def test_the_templates_are_never_written_to(tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in template_repository().rglob("config.pbtxt")}
    render(values(), tmp_path / "repository")
    assert {file: file.read_bytes() for file in template_repository().rglob("config.pbtxt")} == before
