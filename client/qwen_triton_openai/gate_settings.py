"""The gates' settings: a part of the key `openai:` of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
    `tls_certificate`: PEM, with
        the chain; `tls_key` may stand in the same file. `otlp_endpoint`: where traces go, such as
        http://localhost:4318/v1/traces (extra `otel`).
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
