"""docs/openai.md and the page of Anthropic's API say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen_triton_openai.bodies.parameters import PARAMETERS
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import shim_client
from tests.tools.make_openai_doc import DOCUMENT, PAGES, completed

TEXT = DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_table_of_parameters_is_the_code_s(page: Path) -> None:
    """`python -m tests.tools.make_openai_doc` writes it."""
    assert completed(page) == page.read_text(encoding="utf-8")


def test_every_parameter_is_told() -> None:
    assert all(f"| `{p.name}` |" in TEXT for p in PARAMETERS)


def test_every_endpoint_is_told() -> None:
    """And none that there is not."""
    with shim_client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    told = {re.sub(r"\{.*?\}", "{}", p) for p in re.findall(r"`(?:GET|POST) (/[^`]*)`", TEXT)}
    assert {re.sub(r"\{.*?\}", "{}", p) for p in paths} <= told


def test_settings_are_told() -> None:
    """Those of this page, in its table."""
    named = set(re.findall(r"`(\w+)`", TEXT.split("## Settings")[1]))
    assert {"enabled", "host", "port", "triton_url", "models", "drain_s", "keep_alive_s"} <= named & set(
        ShimSettings.model_fields
    )
