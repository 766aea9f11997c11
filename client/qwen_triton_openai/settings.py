"""What the shim can be told: the key `openai:` of a deployment, and the flags of `qwen-triton shim`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS, POSTPROCESSING, PREPROCESSING

Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


FILES = ("api_keys_file", "tls_certificate", "tls_key")
"""Settings that are paths."""
Limit = Annotated[int, Field(ge=0)]
File = Annotated[Path, Field(strict=False)]
"""A text of the deployment becomes a path."""


class GateSettings(BaseModel):
    """Who may ask and how much. 0 = no limit; files are paths, relative to the deployment.

    `api_keys_file`: the keys (see `qwen-triton key`); with it, or with QWEN_TRITON_API_KEYS in the environment, every
    request needs one. `requests_per_minute`, `tokens_per_minute` and `concurrency` hold for each key that has none of
    its own, and for all callers together where no keys are asked for. At most `max_in_flight` requests are generated at
    once; `max_queued` more wait, `queue_timeout_s` at the longest. `metrics_need_key`: /metrics is closed as well.
    `tls_certificate`: PEM, with the chain; `tls_key` may stand in the same file. `otlp_endpoint`: where traces go, such
    as http://localhost:4318/v1/traces (extra `otel`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    api_keys_file: File | None = None
    requests_per_minute: Limit = 0
    tokens_per_minute: Limit = 0
    concurrency: Limit = 0
    max_body_bytes: Annotated[int, Field(ge=1)] = 8 << 20
    max_messages: Annotated[int, Field(ge=1)] = 2048
    max_in_flight: Limit = 1024
    max_queued: Limit = 1024
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


class ShimSettings(GateSettings):
    """`enabled`: `qwen-triton serve` starts a shim beside the server. `models`: the names that clients may ask for, each
    with the Triton model that answers. All times in seconds.

    `temperature` and `top_p` hold where a request does not say, as in OpenAI's own service. After a SIGTERM readiness
    is false at once; requests are still taken for `drain_notice_s`, so that load balancers can look elsewhere, and
    what was accepted has `drain_s` to finish. `keep_alive_s`: a comment on streams that are silent for so long, 0 =
    none. Readiness asks the model for a token when none was seen for `probe_every_s`.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 9000
    triton_url: str = "127.0.0.1:8001"
    models: dict[str, str] = Field(default_factory=lambda: {"qwen": BLS})
    preprocessing_model: str = PREPROCESSING
    postprocessing_model: str = POSTPROCESSING
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_prompts: Positive = 128
    keep_alive_s: Seconds = 0.0
    drain_notice_s: Seconds = 0.0
    drain_s: Seconds = 60.0
    probe_every_s: Seconds = 30.0
    probe_timeout_s: Seconds = 5.0


def check_certificate(settings: GateSettings) -> None:
    """Raises ConfigurationError for files that cannot be used; nothing is asked for where no certificate is named."""
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise ConfigurationError("openai.tls_key: a key alone serves nothing; give tls_certificate as well")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        files = " and ".join(str(file) for file in (settings.tls_certificate, settings.tls_key) if file)
        raise ConfigurationError(f"openai.tls_certificate: {files} cannot be used: {error.strerror or error}") from None
