"""Two repositories in one server, and models of other names: each with its own engine, and nobody takes another's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from threading import Thread

import pytest

from qwen_triton.engines.process.client import read_counters
from qwen_triton.tensors.contract import BLS, ENSEMBLE, POSTPROCESSING, TENSORRT_LLM
from tests.support.live.client import _INPUTS as INPUTS
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, Http, Received, together
from tests.support.live.metric_lines import metrics
from tests.support.live.repository_control import change_engine
from tests.support.live.servers import LiveServer, serving
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
WAIT_S = 10.0
"""For a state to show, on a busy machine too; what a caller that leaves asked for would take three times as long."""
LONG = " ".join(["one two three four five"] * 60)
RENAMED = {TENSORRT_LLM: "qwen_engine", BLS: "qwen", ENSEMBLE: "qwen_steps", POSTPROCESSING: "qwen_text"}


def rename(repository: Path, model: str, name: str) -> None:
    """Gives a model another name, and tells the models that name it."""
    (repository / model).rename(repository / name)
    for file in repository.glob("*/config.pbtxt"):
        text = file.read_text()
        text = re.sub(rf'(name: )"{model}"', rf'\1"{name}"', text)
        file.write_text(text)
    if model == TENSORRT_LLM:
        for bls in (repository / BLS, repository / RENAMED[BLS]):
            if (file := bls / "config.pbtxt").is_file():
                file.write_text(_with_engine(file.read_text(), name))


def _with_engine(config: str, engine: str) -> str:
    found = re.search(r'key: "tensorrt_llm_model_name"\s+value \{\s+(string_value: "[^"]*")?', config)
    assert found is not None
    head = found[0].removesuffix(found[1] or "")
    return config[: found.start()] + f'{head}string_value: "{engine}"\n  ' + config[found.end() :]


@pytest.fixture(scope="module", autouse=True)
def inputs_of_renamed() -> Iterator[None]:
    """The client's helpers know the inputs of a model by its name."""
    names = {RENAMED[BLS]: BLS, RENAMED[ENSEMBLE]: ENSEMBLE, "other_bls": BLS, "other_ensemble": ENSEMBLE}
    INPUTS.update({name: INPUTS[model] for name, model in names.items()})
    yield
    for name in names:
        del INPUTS[name]


@pytest.fixture(scope="module")
def renamed(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    def change(repository: Path) -> None:
        for model, name in RENAMED.items():
            rename(repository, model, name)

    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 10.0}}
    with serving(deployment, tmp_path_factory.mktemp("renamed"), change) as server:
        yield server


@pytest.fixture(scope="module")
def two(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The models of `other` have the same names but for the two that callers name; its engine's context is 64 tokens."""
    other = tmp_path_factory.mktemp("two") / "other"

    def change(repository: Path) -> None:
        copytree(repository, other)
        for model, name in ((BLS, "other_bls"), (ENSEMBLE, "other_ensemble")):
            rename(other, model, name)
        change_engine(other, max_context=64)

    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 5.0}}
    flags = ["--model-namespacing=true", f"--model-repository={other}"]
    with serving(deployment, tmp_path_factory.mktemp("first"), change, flags) as server:
        yield server


def counters(server: LiveServer, repository: Path) -> dict[str, int]:
    load = replace(server, repository=repository).engine_load()
    return read_counters(load.engine_socket)


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_each_repository_answers_with_its_own_engine(two: LiveServer, model: str) -> None:
    """The second one's engine refuses what is too long for it; the first one's takes it."""
    other = {BLS: "other_bls", ENSEMBLE: "other_ensemble"}[model]
    repositories = (two.repository, next(two.repository.parent.parent.glob("two*/other")))
    before = [counters(two, each)["tokens"] for each in repositories]
    assert generate(two, other, text_input="hello again", max_tokens=2)["text_output"] == "hello again"
    assert [counters(two, each)["tokens"] for each in repositories] == [before[0], before[1] + 2]
    assert generate(two, model, text_input=LONG, max_tokens=300)["text_output"] == LONG
    assert [counters(two, each)["tokens"] for each in repositories] == [before[0] + 300, before[1] + 2]
    with pytest.raises(Refused, match="64"):
        generate(two, other, text_input=LONG, max_tokens=300)


def test_metrics_name_the_repository_where_names_do_not(two: LiveServer) -> None:
    other = next(two.repository.parent.parent.glob("two*/other"))

    def namespaces() -> set[str]:
        return {m.labels["namespace"] for m in metrics(two, "engine_tokens_total") if m.labels["model"] == TENSORRT_LLM}

    assert becomes(lambda: namespaces() == {str(two.repository), str(other)}, WAIT_S)


@pytest.mark.parametrize("model", [RENAMED[BLS], RENAMED[ENSEMBLE]])
@pytest.mark.parametrize("kind", [Grpc, Http])
def test_models_of_other_names_answer(renamed: LiveServer, model: str, kind: type[Grpc] | type[Http]) -> None:
    (received,) = together([kind(renamed, model, {"text_input": "one two three", "max_tokens": 40, "stream": True})])
    assert (received.text, received.error, received.ends) == ("one two three", "", 1)


def test_metrics_have_the_names_that_the_models_have(renamed: LiveServer) -> None:
    for model in (RENAMED[BLS], RENAMED[ENSEMBLE]):
        generate(renamed, model, text_input="one two", max_tokens=9)

    def models() -> set[str]:
        return {m.labels["model"] for m in metrics(renamed, "requests_finished_total")}

    assert becomes(lambda: {RENAMED[BLS], RENAMED[TENSORRT_LLM]} <= models(), WAIT_S)
    assert not {BLS, TENSORRT_LLM, POSTPROCESSING} & models()


def test_a_caller_that_leaves_a_renamed_ensemble_frees_its_slot(renamed: LiveServer) -> None:
    """Postprocessing of another name acknowledges to an engine model of another name; one that stays is not lost."""

    def running() -> int:
        load = renamed.engine_load(RENAMED[TENSORRT_LLM])
        return int(read_counters(load.engine_socket)["running"])

    inputs = {"text_input": LONG, "max_tokens": 300, "stream": True}
    stayed: list[Received] = []
    stays = Thread(target=lambda: stayed.extend(together([Http(renamed, RENAMED[ENSEMBLE], inputs)])))
    stays.start()
    leaving = {"text_input": "and on " * 1500, "max_tokens": 3000, "stream": True}
    (left,) = together([Http(renamed, RENAMED[ENSEMBLE], leaving, leaves_after=3)])
    assert left.left
    assert becomes(lambda: running() <= 1, WAIT_S)
    stays.join()
    assert [(h.text, h.error) for h in stayed] == [(LONG, "")]
    assert becomes(lambda: running() == 0, WAIT_S)
