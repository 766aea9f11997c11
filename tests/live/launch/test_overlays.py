"""A repository rendered for NVIDIA's backend loads in a real server and answers, for the oldest contract and the newest.

The backend itself needs a GPU: a stand-in with the same config takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest

from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, Server
from qwen_triton_build.launch.log import ServerLog
from qwen_triton_build.launch.tritonserver import TritonServer
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from tests.support.engine_folders import write_engine
from tests.support.folders import STANDINS
from tests.support.live.client import Refused, generate, generate_stream, stream_arrays, stream_grpc
from tests.support.live.servers import LiveServer, free_ports

pytestmark = pytest.mark.live
LORA_VALUES = 100_000
METRICS = {
    "kv_cache_alloc_new_blocks": 2,
    "kv_cache_reused_blocks": 0,
    "kv_cache_alloc_total_blocks": 3,
    "arrival_time_ns": 2**40,
    "first_scheduled_time_ns": 2**41,
    "first_token_time_ns": 2**42,
    "last_token_time_ns": 2**43,
    "acceptance_rate": 0.0,
    "total_accepted_draft_tokens": 9,
    "total_draft_tokens": 10,
}
"""What the stand-in tells of an answer of two tokens without an adapter."""
STANDIN = STANDINS / "contract_standin" / "model.py"


@pytest.fixture(scope="module", params=["0.14.0", "1.2.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(version: str, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server on what is rendered for an engine of `version`."""
    folder = tmp_path_factory.mktemp("rendered")
    engine = TensorRtLlmSection(
        kind="tensorrtllm",
        engine_dir=write_engine(folder / "engine", version, lora_plugin="auto"),
        guided_decoding_backend=None if version == "0.14.0" else "xgrammar",
    )
    deployment = Deployment(model="m", engine=engine, limits={"lora_values": LORA_VALUES})
    repository = render(placeholders(deployment, qwen25_folder), folder / "repository")
    config = repository / "tensorrt_llm" / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "tensorrtllm"', 'backend: "python"'))
    bls = repository / "tensorrt_llm_bls" / "config.pbtxt"
    bls.write_text(
        bls.read_text().replace(
            'key: "engine_door"\n  value {', 'key: "engine_door"\n  value {\n    string_value: "grpc"'
        )
    )
    copy(STANDIN, repository / "tensorrt_llm" / "1" / "model.py")
    http, grpc, metrics = free_ports(3)
    settings = Server(http_port=http, grpc_port=grpc, metrics_port=metrics, ready_timeout_s=90, exit_timeout_s=5)
    log = ServerLog(str(folder / "tritonserver.log"))
    running = TritonServer(settings, repository, folder)
    running.start(log.open())
    try:
        running.wait_ready()
        yield LiveServer(deployment.model_copy(update={"server": settings}), repository, folder, running.pid)
    finally:
        running.stop()
        log.close()


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
def test_a_stream_is_answered(server: LiveServer, model: str) -> None:
    """The ensemble loads with the connections of this version, and text comes through it and through the BLS."""
    events = generate_stream(server, model, text_input="你好", max_tokens=20, bad_words="", stop_words="")
    assert "".join(event["text_output"] for event in events) == "你好"


@pytest.mark.parametrize("name", ["seed", "random_seed"])
def test_an_input_that_the_version_does_not_have_is_refused_by_name(
    server: LiveServer, version: str, name: str
) -> None:
    """`random_seed` became `seed` in 0.20; the other one is refused by the server, not dropped."""
    row = {"text_input": "你好", "max_tokens": 20, "stream": True, name: 7}
    if (name == "seed") == (version == "1.2.1"):
        assert stream_grpc(server, "ensemble", row)
        return
    with pytest.raises(Refused, match=f"unexpected inference input '{name}' for model 'ensemble'"):
        stream_grpc(server, "ensemble", row)


@pytest.mark.parametrize(("model", "said"), [("ensemble", "one"), ("tensorrt_llm_bls", " twoone")])
def test_a_guide_reaches_the_backend(server: LiveServer, version: str, model: str, said: str) -> None:
    """As it is through the ensemble; as a grammar, made and checked here, through the BLS. An older release has none."""
    guide = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "a|b"}
    asked = {"text_input": "one two", "max_tokens": 20, **guide}
    if version == "0.14.0":
        told = "needs TensorRT-LLM 0.19 or newer" if model == "tensorrt_llm_bls" else "guided_decoding_guide"
        with pytest.raises(Refused, match=told) as refusal:
            generate(server, model, **asked)
        assert refusal.value.status == 400
        return
    events = generate_stream(server, model, **asked)
    assert "".join(event["text_output"] for event in events) == said


PROMPT = {"text_input": np.array([[b"one two"]], object), "max_tokens": np.array([[20]], np.int32)}
STREAM = {"stream": np.array([[True]])}
MODELS = ["ensemble", "tensorrt_llm_bls"]


def adapter(task: int, *modules: float) -> dict[str, Any]:
    """The inputs of an adapter with a row of 20,000 values for each of `modules`, which is each value of its row."""
    weights = np.full((1, len(modules), 20_000), 0, np.float16)
    weights[0, :, 0] = modules
    config = np.array([[[0, layer, 8] for layer in range(len(modules))]], np.int32)
    return {"lora_task_id": np.array([[task]], np.uint64), "lora_weights": weights, "lora_config": config}


def text(responses: list[dict[str, Any]]) -> str:
    return "".join(response["text_output"] for response in responses)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [True, False])
def test_metrics_come_where_they_are_asked_for(server: LiveServer, version: str, model: str, stream: bool) -> None:
    """The ten of the contract with the end of an answer; none of a request that does not ask, none of an older release."""
    sent = PROMPT | (STREAM if stream else {})
    asked = sent | {"return_perf_metrics": np.array([[True]])}
    if version == "0.14.0":
        told = (
            "return_perf_metrics: needs TensorRT-LLM 0.19 or newer; leave it out"
            if model == "tensorrt_llm_bls"
            else "unexpected inference input 'return_perf_metrics' for model 'ensemble'"
        )
        with pytest.raises(Refused, match=told):
            stream_arrays(server, model, asked)
        return
    responses = stream_arrays(server, model, asked)
    assert text(responses) == "one two"
    assert {name: responses[-1][name] for name in METRICS} == METRICS
    assert not [name for response in stream_arrays(server, model, sent) for name in METRICS if name in response]


def test_metrics_of_the_bls_come_once(server: LiveServer, version: str) -> None:
    """With the last piece of a stream, also in JSON; those before cost nothing more."""
    if version == "0.14.0":
        with pytest.raises(Refused, match=r"return_perf_metrics: needs TensorRT-LLM 0\.19"):
            generate(server, "tensorrt_llm_bls", text_input="one two", max_tokens=9, return_perf_metrics=True)
        return
    events = generate_stream(
        server, "tensorrt_llm_bls", text_input="one two", max_tokens=9, return_perf_metrics=True, num_return_sequences=2
    )
    ends = [event for event in events if "finish_reason" in event]
    assert sorted(event["sequence_index"] for event in ends) == [0, 1]
    assert all({name: event[name] for name in METRICS} == METRICS for event in ends)
    assert not [name for event in events if event not in ends for name in METRICS if name in event]


@pytest.mark.parametrize("model", MODELS)
def test_an_adapter_goes_to_the_engine(server: LiveServer, version: str, model: str) -> None:
    """Its weights with the first request, its number with the others; the stand-in turns the tokens round for it."""
    task = {"lora_task_id": np.array([[7 + MODELS.index(model)]], np.uint64)}
    if version == "0.14.0" and model == "ensemble":
        with pytest.raises(Refused, match="unexpected inference input 'lora_task_id' for model 'ensemble'"):
            stream_arrays(server, model, PROMPT | STREAM | task)
        return
    with pytest.raises(
        Refused, match=r"LoRA task \d not found in cache. Please send LoRA weights with request"
    ) as told:
        stream_arrays(server, model, PROMPT | STREAM | task)
    if model == "tensorrt_llm_bls":
        assert str(told.value).startswith("lora_task_id: LoRA task 8 not found")
    first = adapter(int(task["lora_task_id"][0, 0]), 1.5, -0.25)
    assert text(stream_arrays(server, model, PROMPT | STREAM | first)) == " twoone"
    measured = {} if version == "0.14.0" else {"return_perf_metrics": np.array([[True]])}
    responses = stream_arrays(server, model, PROMPT | task | measured)
    assert text(responses) == " twoone"
    if measured:
        assert (responses[-1]["kv_cache_reused_blocks"], responses[-1]["acceptance_rate"]) == (2, 1.25)


def test_weights_of_an_adapter_have_a_limit(server: LiveServer) -> None:
    """Each answer is a request to the engine, which has them."""
    told = "lora_weights: {} values are more than the 100000 that are taken here .limits.lora_values.; send less"
    with pytest.raises(Refused, match=told.format(120_000)):
        stream_arrays(server, "tensorrt_llm_bls", PROMPT | STREAM | adapter(9, *[1.0] * 6))
    three = {"num_return_sequences": np.array([[3]], np.int32)}
    with pytest.raises(Refused, match=told.format(120_000)):
        stream_arrays(server, "tensorrt_llm_bls", PROMPT | STREAM | three | adapter(9, 1.0, 1.0))


@pytest.mark.parametrize("name", ["image_url_input", "lookahead_window_size"])
@pytest.mark.parametrize("model", MODELS)
def test_a_key_that_would_be_dropped_is_refused(server: LiveServer, model: str, name: str) -> None:
    """Of a generate body: what is no input of the model reaches it as a parameter."""
    with pytest.raises(Refused, match=rf"{name}: (images are not supported|is an input of tensorrt_llm)"):
        generate(server, model, text_input="one two", max_tokens=9, **{name: "http://x" if "url" in name else 4})
