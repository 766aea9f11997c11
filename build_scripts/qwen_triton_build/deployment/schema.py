"""Schema of deployment.yaml: model, engine, repository, server and shim in one typed file.

    deployment = load_deployment(Path("deployments/cpu.yaml"))

Every wrong key, type or value becomes one line with its path, the reason and the remedy. Relative paths are relative
to the file. Ports may be given by the environment: HTTP_PORT, GRPC_PORT, METRICS_PORT, OPENAI_PORT.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, create_model, model_validator

from qwen_triton.chat.tool_formats.formats import ToolFormatSetting
from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS
from qwen_triton.tensors.limits import LIMITS, Limits
from qwen_triton_openai.settings import (
    CORES_A_WORKER,
    FILES,
    Host,
    PathCheck,
    Processes,
    ShimSettings,
    processes_for,
    usable_cores,
)

from .build_section import Build
from .engine_sections import EngineSection, adapters_of, with_engine_paths
from .faults import explain
from .file import read_deployment
from .section import Count, CountOrNone, FilePath, NotNegative, Port, Positive, Section, fault_at


def _refuse_exec(link: object) -> object:
    """Names the remedy for `exec`, Triton's call from model to model, which is no way to an engine here."""
    if link == "exec":
        raise ValueError("exec is not supported; leave the key out and serve gRPC on loopback: server.host: 127.0.0.1")
    return link


def _checked_name(model: str) -> str:
    PathCheck.func(Path(model))  # type: ignore[call-arg]  # a validator of the value alone
    return model


class Repository(Section):
    """Settings that the five models share. `max_in_flight` 0 = no bound; requests beyond it are answered UNAVAILABLE.
    `queue_timeout_ms`: how long a request may wait for a slot of the engine, 0 = as long as it takes.
    `max_responses_per_s`: the most that all streams of the BLS get together, in all of its processes, 0 = 2,800 a core,
    12,000 at most.

    `max_batch_size`, `max_context`: of a TensorRT-LLM engine, what it was built for unless given.
    `engine_door`: how the BLS reaches the engine: `own` = the socket of the engine's own process, `grpc` = the gRPC
    of this server; None = what the engine's kind needs.
    `bls_instances`: processes of the BLS; auto: one for every eight cores, at most as many as the shim's workers; without a
    shim one for every four cores; 4 at most.
    """

    engine_door: Annotated[Literal["own", "grpc"] | None, BeforeValidator(_refuse_exec)] = None
    max_batch_size: Count = 64
    decoupled: bool = True
    prompt_format: Literal["raw", "chat"] = "raw"
    accumulate_tokens: bool = False
    exclude_input_in_output: bool = True
    skip_special_tokens: bool = True
    max_context: Count | None = None
    max_in_flight: CountOrNone = 0
    queue_timeout_ms: CountOrNone = 0
    max_responses_per_s: CountOrNone = 0
    max_queue_size: CountOrNone = 0
    max_queue_delay_microseconds: CountOrNone = 0
    preprocessing_instances: Count = 1
    postprocessing_instances: Count = 1
    bls_instances: Processes = "auto"


_CORES_A_BLS, _CORES_A_BLS_ALONE = 8, 4
"""Cores for each process of the BLS behind shims, which send it requests over local sockets, and without one, where each of
its responses goes through the server."""
_ON_CPU = ("openvino", "replay")
"""Kinds of engine that compute on the CPU, and leave no core to further processes in front of them."""
TritonPort = Literal["http", "grpc", "metrics"]
"""A port of tritonserver."""
ClosedApi = Literal["shared-memory", "model-repository", "trace", "logging"]
"""An API by which a caller changes the server or reads what is another's; no model and no client of ours uses them."""
LOOPBACK = "127.0.0.1"
if TYPE_CHECKING:
    LimitsSection = Section
else:
    LimitsSection = create_model(
        "LimitsSection",
        __base__=Section,
        __doc__="The section `limits:`, a key for each row of the core's table.",
        **{
            name: (Positive, Field(default=row.default, description=row.metadata["help"]))
            for name, row in LIMITS.items()
        },
    )


class Server(Section):
    """Settings of tritonserver. `tritonserver`: a path, None = found on the machine; times in seconds.

    `expose`: which of its ports listen at `host`; the others listen on loopback.
    `api_key_file`: a file with the key that HTTP and gRPC ask for, by the header `triton-grpc-protocol-api-key`; health
    needs none.
    `open_apis`: which of the APIs that are closed to everybody else (tritonserver 2.51's names) any caller may use.
    `otlp_endpoint`: where the server sends OpenTelemetry traces, such as http://localhost:4318/v1/traces.
    `on_failure`: what `serve` does when a process ends unexpectedly: end all, or restart it, at most `max_restarts` times.
    """

    host: Host = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    expose: list[TritonPort] = Field(default_factory=lambda: list(get_args(TritonPort)))
    api_key_file: FilePath | None = None
    open_apis: list[ClosedApi] = Field(default_factory=list)
    tritonserver: FilePath | None = None
    ready_timeout_s: Positive = 600
    exit_timeout_s: Positive = 30
    otlp_endpoint: str | None = None
    on_failure: Literal["exit", "restart"] = "exit"
    max_restarts: Positive = 5
    log_verbose: NotNegative = 0

    def host_of(self, port: TritonPort) -> str:
        """The address that this port listens at."""
        return self.host if port in self.expose else LOOPBACK


class OpenAiSection(ShimSettings):
    """The section `openai:`: the shim's settings, and what its chats need of the models.

    `tool_format`: the format of the checkpoint's tool calls; auto: found in its chat template.
    """

    tool_format: ToolFormatSetting = "auto"


class Deployment(Section):
    """Everything that `qwen-triton serve` needs. `model`: a folder, or a name on Hugging Face or ModelScope.

    `revision`: the commit, tag or branch of all its files: weights, tokenizer and chat template.
    """

    model: Annotated[str, Field(min_length=1), AfterValidator(_checked_name)]
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    revision: Annotated[str, Field(min_length=1)] | None = None
    served_model_name: str = "qwen"
    engine: EngineSection
    build: Build | None = None
    repository: Repository = Repository()
    limits: LimitsSection = LimitsSection()
    server: Server = Server()
    openai: OpenAiSection = OpenAiSection()

    @model_validator(mode="after")
    def _check_link(self) -> Deployment:
        """NVIDIA's backend runs inside the server: it has no process and no socket of its own."""
        if self.engine.kind == "tensorrtllm" and self.repository.engine_door == "own":
            reason = "a tensorrtllm engine has no process of its own; leave the key out, or give grpc"
            raise fault_at(("repository", "engine_door"), reason, "own")
        return self

    @model_validator(mode="after")
    def _check_adapters(self) -> Deployment:
        """Models and adapters are asked for by the same parameter."""
        for name in adapters_of(self.engine):
            if name in self._served_models():
                raise fault_at(("engine", "lora"), "is the name of a served model; give the adapter another one", name)
        return self

    def _served_models(self) -> dict[str, str]:
        return self.openai.models if "models" in self.openai.model_fields_set else {self.served_model_name: BLS}

    def shim_settings(self) -> ShimSettings:
        """`openai`, with this server's address, this model's name, the engine's adapters and a number of workers where they
        are not set there."""
        models = self._served_models()
        defaults = {
            "triton_url": f"{self.server.host_of('grpc')}:{self.server.grpc_port}",
            "models": models,
            "adapters": dict.fromkeys(adapters_of(self.engine), next(iter(models), "")),
            "limits": Limits(**self.limits.model_dump()),
            "tokenizer_dir": Path(self.model) if Path(self.model).is_dir() else None,
        }
        unset = {key: value for key, value in defaults.items() if key not in self.openai.model_fields_set}
        return self.openai.model_copy(update={**unset, "workers": self._workers()})

    def bls_instances(self) -> int:
        """`repository.bls_instances` as a number: several of them are slower than one behind fewer workers of the shim."""
        given = self.repository.bls_instances
        if given != "auto":
            return given
        if self.openai.enabled:
            return min(self._processes(_CORES_A_BLS), self._workers())
        return self._processes(_CORES_A_BLS_ALONE)

    def _workers(self) -> int:
        given = self.openai.workers
        return self._processes(CORES_A_WORKER) if given == "auto" else given

    def _processes(self, cores: int) -> int:
        """One for so many cores, but one where the engine needs them."""
        return 1 if self.engine.kind in _ON_CPU else processes_for(usable_cores(), cores)


def load_deployment(file: Path, environment: Mapping[str, str] = os.environ) -> Deployment:
    """Reads and validates a deployment. Raises ConfigurationError with one line for each fault."""
    data = read_deployment(file, environment)
    try:
        return _with_paths(Deployment.model_validate(data), file.parent)
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in explain(error, Deployment, data))) from None


def _with_paths(deployment: Deployment, base: Path) -> Deployment:
    """A copy with absolute paths; a model that is no folder stays a hub name."""
    folder = (base / deployment.model).resolve()
    changes: dict[str, Any] = {"model": str(folder)} if folder.is_dir() else {}
    changes["engine"] = with_engine_paths(deployment.engine, base)
    if deployment.server.api_key_file is not None:
        file = (base / deployment.server.api_key_file).resolve()
        changes["server"] = deployment.server.model_copy(update={"api_key_file": file})
    files = {name: (base / file).resolve() for name in FILES if (file := getattr(deployment.openai, name))}
    changes["openai"] = deployment.openai.model_copy(update=files)
    if deployment.build is not None:
        changes["build"] = deployment.build.with_paths(base)
    return deployment.model_copy(update=changes)
