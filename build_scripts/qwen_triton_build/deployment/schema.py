"""`deployment.yaml`: model, engine, repository and server in one typed file.

    deployment = load_deployment(Path("deployments/cpu.yaml"))

Every wrong key, type or value becomes one line with its path, the reason and the remedy. Relative paths are relative
to the file. Ports may be given by the environment: HTTP_PORT, GRPC_PORT, METRICS_PORT, OPENAI_PORT.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS
from qwen_triton_openai.settings import FILES, ShimSettings

from .build_section import Build
from .faults import explain
from .file import read_deployment
from .section import FilePath, Fraction, NotNegative, Port, Positive, Section


class OpenVinoEngine(Section):
    """The CPU engine. `cache_gib`: memory for keys and values, None = a part of what is free."""

    kind: Literal["openvino"]
    profile: Literal["exact", "bf16", "int8", "int8-fast"] = "exact"
    max_num_seqs: Positive = 256
    max_num_batched_tokens: Positive = 256
    cache_gib: Positive | None = None
    threads: Positive | None = None
    prefix_caching: bool = True


class ReplayEngine(Section):
    """No model: token scripts at a set pace (see qwen_triton.engines.replay.engine)."""

    kind: Literal["replay"]
    mode: Literal["echo", "random", "scripts"] = "echo"
    scripts: list[list[int]] = Field(default_factory=list)
    slots: Positive = 1024
    step_ms: Annotated[float, Field(ge=0)] = 0.0
    prefill_ms_per_token: Annotated[float, Field(ge=0)] = 0.0
    prefix_caching: bool = False
    tokens_per_step: Positive = 1
    tokens: Positive = 128
    vocab_size: Positive = 151_936
    max_context: Positive = 32_768
    random_ids: Annotated[list[int], Field(min_length=2, max_length=2)] = Field(default_factory=lambda: [0, 151_643])
    log_prob: float = -0.5
    fail_after: Positive | None = None
    crash_on: NotNegative | None = None


class TensorRtLlmEngine(Section):
    """NVIDIA's C++ backend with an engine folder. Keys are the backend's parameters; what is left out is its default."""

    kind: Literal["tensorrtllm"]
    engine_dir: FilePath
    batching_strategy: Literal["inflight_fused_batching", "inflight_batching", "V1", "v1"] = "inflight_fused_batching"
    max_beam_width: Positive | None = None
    max_tokens_in_paged_kv_cache: Positive | None = None
    max_attention_window_size: Positive | None = None
    batch_scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    kv_cache_free_gpu_mem_fraction: Fraction | None = None
    kv_cache_host_memory_bytes: NotNegative | None = None
    enable_kv_cache_reuse: bool | None = None
    enable_chunked_context: bool | None = None
    normalize_log_probs: bool | None = None
    decoding_mode: Literal["top_k", "top_p", "top_k_top_p", "beam_search", "medusa"] | None = None
    gpu_device_ids: str | None = None
    participant_ids: str | None = None
    num_nodes: Positive | None = None
    sink_token_length: NotNegative | None = None
    kv_cache_onboard_blocks: bool | None = None
    gpu_weights_percent: Annotated[float, Field(ge=0, le=1)] | None = None
    multi_block_mode: bool | None = None
    enable_context_fmha_fp32_acc: bool | None = None
    cancellation_check_period_ms: Positive | None = None


Engine = Annotated[OpenVinoEngine | ReplayEngine | TensorRtLlmEngine, Field(discriminator="kind")]


def _refuse_exec(link: object) -> object:
    """Triton's call from model to model is not supported; a deployment always serves gRPC, which takes its place."""
    if link == "exec":
        raise ValueError("exec is not supported; leave it out, the server's own gRPC is used (server.host: 127.0.0.1)")
    return link


class Repository(Section):
    """What the five models share. `max_in_flight` 0 = no bound; requests beyond it are answered UNAVAILABLE.
    `queue_timeout_ms`: how long a request may wait for a slot of the engine, 0 = as long as it takes.

    `max_batch_size`, `max_context`: of a TensorRT-LLM engine, what it was built for unless given.
    `engine_door`: how the BLS reaches a TensorRT-LLM engine, None = through the server's own gRPC.
    """

    engine_door: Annotated[Literal["grpc"], BeforeValidator(_refuse_exec)] | None = None
    max_batch_size: Positive = 64
    decoupled: bool = True
    prompt_format: Literal["raw", "chat"] = "raw"
    accumulate_tokens: bool = False
    exclude_input_in_output: bool = True
    skip_special_tokens: bool = True
    max_context: Positive | None = None
    max_in_flight: NotNegative = 0
    queue_timeout_ms: NotNegative = 0
    max_queue_size: NotNegative = 0
    max_queue_delay_microseconds: NotNegative = 0
    preprocessing_instances: Positive = 1
    postprocessing_instances: Positive = 1


class Server(Section):
    """tritonserver. `tritonserver`: a path, None = found on the machine; times in seconds.

    `otlp_endpoint`: where the server sends OpenTelemetry traces, such as http://localhost:4318/v1/traces.
    `on_failure`: what `serve` does when a process ends unasked: end all, or start it again, at most `max_restarts` times.
    """

    host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    tritonserver: FilePath | None = None
    ready_timeout_s: Positive = 600
    exit_timeout_s: Positive = 30
    otlp_endpoint: str | None = None
    on_failure: Literal["exit", "restart"] = "exit"
    max_restarts: Positive = 5
    log_verbose: NotNegative = 0


class Deployment(Section):
    """Everything that `qwen-triton serve` needs. `model`: a folder, or a Hugging Face or ModelScope name."""

    model: Annotated[str, Field(min_length=1)]
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    served_model_name: str = "qwen"
    engine: Engine
    build: Build | None = None
    repository: Repository = Repository()
    server: Server = Server()
    openai: ShimSettings = ShimSettings()

    def shim_settings(self) -> ShimSettings:
        """`openai`, with the address of this server and the name of this model where it does not say its own."""
        from_here = {
            "triton_url": f"{self.server.host}:{self.server.grpc_port}",
            "models": {self.served_model_name: BLS},
        }
        left_out = {key: value for key, value in from_here.items() if key not in self.openai.model_fields_set}
        return self.openai.model_copy(update=left_out)


def load_deployment(file: Path, environment: Mapping[str, str] = os.environ) -> Deployment:
    """Reads and checks a deployment. Raises ConfigurationError with one line for each fault."""
    data = read_deployment(file, environment)
    try:
        return _with_paths(Deployment.model_validate(data), file.parent)
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in explain(error, Deployment, data))) from None


def _with_paths(deployment: Deployment, base: Path) -> Deployment:
    """Local folders as absolute paths; a model that is no folder stays a hub name."""
    folder = (base / deployment.model).resolve()
    changes: dict[str, Any] = {"model": str(folder)} if folder.is_dir() else {}
    if isinstance(deployment.engine, TensorRtLlmEngine):
        engine_dir = (base / deployment.engine.engine_dir).resolve()
        changes["engine"] = deployment.engine.model_copy(update={"engine_dir": engine_dir})
    files = {name: (base / file).resolve() for name in FILES if (file := getattr(deployment.openai, name))}
    changes["openai"] = deployment.openai.model_copy(update=files)
    if deployment.build is not None:
        changes["build"] = deployment.build.with_paths(base)
    return deployment.model_copy(update=changes)
