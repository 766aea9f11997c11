"""The documents name what there is: every key, every input, and no file that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS_INPUTS, BLS_OUTPUTS
from qwen_triton_build.deployment.engine_sections import OpenVinoSection, ReplaySection, TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, Repository, Server
from tests.support.folders import ROOT

README = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*README, *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", README, ids=lambda page: page.name)
def test_a_readme_has_at_most_150_lines_and_names_every_folder(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= 150
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    unnamed = {f for f in folders - {"build", "dist"} if not f.endswith(".egg-info") and f"`{f}/" not in text}
    assert unnamed == set()


@pytest.mark.parametrize("page", README, ids=lambda page: page.name)
def test_a_readme_links_every_page(page: Path) -> None:
    text = page.read_text()
    assert [doc.name for doc in (ROOT / "docs").glob("*.md") if f"](docs/{doc.name})" not in text] == []


@pytest.mark.parametrize(
    "section", [Deployment, OpenVinoSection, ReplaySection, TensorRtLlmSection, Repository, Server]
)
def test_every_key_of_a_deployment_is_explained(section: type[Deployment]) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [key for key in section.model_fields if not re.search(rf"`{key}[`:]", text)] == []


def test_every_input_and_output_is_explained() -> None:
    text = (ROOT / "docs" / "requests.md").read_text()
    assert [t.name for t in (*BLS_INPUTS, *BLS_OUTPUTS) if f"`{t.name}`" not in text] == []
