"""Whatever the shim's own OpenAPI document allows, and much that it does not, is answered without a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import SchemathesisConfig

from qwen_triton_openai.app import create_app
from qwen_triton_openai.settings import ShimSettings
from tests.live.conftest import Serve
from tests.support.live.shims import LiveShim, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

CASES = 60
"""Random ones for each operation, beside some hundred that try each rule of the document in turn."""


@pytest.fixture(scope="module")
def shim(serve: Serve, qwen3_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    """In front of an engine with a short context, so that no answer is long."""
    server = serve({"model": str(qwen3_folder), "engine": {"kind": "replay", "max_context": 64}})
    with shimming(server, tmp_path_factory.mktemp("shim")) as shim:
        yield shim


schema = schemathesis.openapi.from_dict(
    create_app(ShimSettings()).openapi(), config=SchemathesisConfig.from_dict({"generation": {"mode": "all"}})
)


@schema.parametrize()
@settings(
    max_examples=CASES, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_case_is_a_server_s_error(case: Any, shim: LiveShim) -> None:
    """Bad cases are 4xx in the shape of the path's API, good ones are answered."""
    if isinstance(case.body, dict) and "model" in case.body and case.body["model"]:
        case.body["model"] = "qwen-live"  # a random name is always unknown, and hides what comes behind
    response = case.call(base_url=shim.url)
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        anthropic = case.operation.path.startswith("/v1/messages")
        shape = {"message", "type"} if anthropic else {"message", "type", "param", "code"}
        assert set(response.json()["error"]) == shape
