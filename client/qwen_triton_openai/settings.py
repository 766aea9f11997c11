"""What the shim can be told: the key `openai:` of a deployment, and the flags of `qwen-triton shim`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qwen_triton.tensors.contract import BLS, POSTPROCESSING, PREPROCESSING

from .gate_settings import GateSettings

Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


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
