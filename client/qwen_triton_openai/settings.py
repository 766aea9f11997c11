"""Settings of the shim: the key `openai:` of a deployment, and the flags of `qwen-triton shim`."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS, POSTPROCESSING, PREPROCESSING
from qwen_triton.tensors.limits import Limits


def _host(text: str) -> str:
    try:
        usable = bool(text.strip()) and text.isprintable() and text.encode("idna") != b""
    except UnicodeError:
        usable = False
    if not usable:
        raise ValueError(
            "expected an address or a name whose parts have 1 to 63 characters, such as 127.0.0.1 or 0.0.0.0"
        )
    return text


def _path(path: Path) -> Path:
    parts = [part.encode("utf-8", "surrogateescape") for part in path.parts]
    if any(b"\0" in part or len(part) > _LONGEST_PART for part in parts) or len(bytes(path)) > _LONGEST_PATH:
        raise ValueError(f"expected a path whose parts have at most {_LONGEST_PART} bytes and no NUL")
    return path


def _processes(value: object) -> object:
    """One fault for a value that is neither."""
    if value == "auto" or (type(value) is int and 1 <= value <= _MOST_GIVEN):
        return value
    raise ValueError(f"expected auto, or a number from 1 to {_MOST_GIVEN}")


_LONGEST_PART, _LONGEST_PATH = 255, 4000
"""Bytes of a path that Linux takes."""
_MOST_PROCESSES, _MOST_GIVEN = 4, 256
CORES_A_WORKER = 4
"""On 16 cores with a small model on an H200, four shims before two BLS were the fastest (docs/vllm.md)."""
Host = Annotated[str, AfterValidator(_host)]
PathCheck = AfterValidator(_path)
Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Processes = Annotated[int | Literal["auto"], BeforeValidator(_processes)]
"""A number of processes; auto: by `processes_for`."""
File = Annotated[Path, Field(strict=False), PathCheck]
"""A path, also where the deployment has it as text."""

FILES = ("api_keys_file", "tls_certificate", "tls_key", "tokenizer_dir")
"""Names of the settings that are paths."""


class MiddlewareSettings(BaseModel):
    """Settings of the middleware and of TLS. A limit of 0 is no limit; relative paths start at the deployment's folder.

    `api_keys_file`: the keys (see `qwen-triton key`). With it, or with QWEN_TRITON_API_KEYS in the environment, every
    request needs a key.
    `requests_per_minute`, `tokens_per_minute`, `concurrency`: the limits of each key that has none of its own; without
    keys, of all clients together.
    `max_in_flight`: requests that generate at once; `max_queued`: further requests that wait; `queue_timeout_s`: the
    longest wait.
    `limits`: the deployment's table of limits, which is a section of its own there.
    `header_timeout_s`: the longest that a client may take from the start of a connection or of a request to the end of
    its headers; `body_timeout_s`: from there to the end of the body.
    `metrics_need_key`: /metrics needs a key too.
    `tls_certificate`: PEM with the chain; `tls_key`: its key, unless the same file has it.
    `otlp_endpoint`: the collector of traces, such as http://localhost:4318/v1/traces (needs the extra `otel`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    api_keys_file: File | None = None
    requests_per_minute: NonNegative = 0
    tokens_per_minute: NonNegative = 0
    concurrency: NonNegative = 0
    max_body_bytes: Annotated[int, Field(ge=1)] = 8 << 20
    limits: Limits = Limits()
    header_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    body_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    max_messages: Annotated[int, Field(ge=1)] = 2048
    max_in_flight: NonNegative = 1024
    max_queued: NonNegative = 1024
    queue_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    cors_origins: list[str] = []
    tls_certificate: File | None = None
    tls_key: File | None = None
    access_log: bool = True
    metrics_need_key: bool = False
    otlp_endpoint: str | None = None
    chat_page: bool = True

    @property
    def scheme(self) -> str:
        return "https" if self.tls_certificate else "http"


class ShimSettings(MiddlewareSettings):
    """All settings of the shim. Times are in seconds.

    `enabled`: `qwen-triton serve` starts a shim beside the server.
    `workers`: processes that serve the port; auto: one for every four cores, at most 4, and one where the deployment's
    engine computes on the CPU.
    `local_sockets`: text requests to a Triton on this machine go to the BLS's processes over Unix sockets, past the server.
    `models`: served names, each with the Triton model that answers.
    `adapters`: LoRA adapters of the engine, served under their own names, each with the one of `models` that it belongs to.
    `tokenizer_dir`: the checkpoint's folder, for GET /tokenizer_info alone; the deployment's model, where it is a folder.
    `temperature`, `top_p`: defaults of a request, the same as OpenAI's.
    `unknown_parameters`: a parameter that is not known or not supported is refused, or taken, left out and named in the
    header X-Ignored-Parameters and the access log.
    `keep_alive_s`: a stream that is silent for so long carries a comment; 0 = none.
    `drain_notice_s`: after SIGTERM readiness fails at once, but requests are still accepted for so long, so that load
    balancers can move on; `drain_s`: time that accepted requests then have to finish.
    `probe_every_s`: readiness generates a token with a model that has answered nothing for so long;
    `probe_timeout_s`: the longest wait for that token.
    """

    enabled: bool = True
    workers: Processes = "auto"
    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 9000
    triton_url: str = "127.0.0.1:8001"
    local_sockets: bool = True
    models: dict[str, str] = Field(default_factory=lambda: {"qwen": BLS})
    adapters: dict[str, str] = {}
    preprocessing_model: str = PREPROCESSING
    postprocessing_model: str = POSTPROCESSING
    tokenizer_dir: File | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    unknown_parameters: Literal["refuse", "ignore"] = "refuse"
    max_prompts: Positive = 128
    keep_alive_s: Seconds = 0.0
    drain_notice_s: Seconds = 0.0
    drain_s: Seconds = 60.0
    probe_every_s: Seconds = 30.0
    probe_timeout_s: Seconds = 5.0

    @field_validator("adapters")
    @classmethod
    def _check_adapters(cls, adapters: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        models = info.data.get("models", {})
        for name, model in adapters.items():
            if name in models:
                raise ValueError(f"{name} is the name of a model; give the adapter another one")
            if model not in models:
                raise ValueError(f"{name} belongs to {model}, which is none of the models ({', '.join(models)})")
        return adapters

    @property
    def worker_count(self) -> int:
        """`workers` as a number, on this machine."""
        return processes_for(usable_cores(), CORES_A_WORKER) if self.workers == "auto" else self.workers


def processes_for(cores: int, each: int) -> int:
    """Processes of one kind for a machine of so many cores, where another does the computing: one for `each` cores, 1 to 4."""
    return max(1, min(_MOST_PROCESSES, cores // each))


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def check_certificate(settings: MiddlewareSettings) -> None:
    """Loads the certificate and its key, if any. Raises ConfigurationError for files that cannot be used."""
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise ConfigurationError("openai.tls_key: a key alone serves nothing; give tls_certificate as well")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        files = " and ".join(str(file) for file in (settings.tls_certificate, settings.tls_key) if file)
        raise ConfigurationError(f"openai.tls_certificate: {files} cannot be used: {error.strerror or error}") from None
