"""The documents name what exists: files, links, classes, deployment keys, inputs and outputs."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS_INPUTS, BLS_OUTPUTS
from qwen_triton.tensors.limits import LIMITS
from qwen_triton_build.deployment.engine_sections import OpenVinoSection, ReplaySection, TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment, Repository, Server
from tests.support.documents import PAGES, commands, page_name, spans
from tests.support.folders import ROOT
from tests.support.sources import PACKAGES, public_classes

README = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
BASES = {
    "docs/life-of-a-request.md": ("backend_src/qwen_triton/", "client/qwen_triton_openai/"),
    "CONTRIBUTING.md": ("backend_src/qwen_triton/", "client/qwen_triton_openai/"),
}
"""Pages that name files relative to other folders than the page's own; each names those folders."""
ELSEWHERE = {
    # files of a user, and folders that our commands make
    "deployment.yaml", "bake/NAME", "engines/qwen/", "models/qwen/", "etc/qwen-triton/deployment.yaml", "ENGINE.build/",
    "logs/", "perfetto.json", "manifest.json", "qwen-triton.json", "build/demo-checkpoint",
    # files of a Hugging Face checkpoint or of an engine folder
    "config.json", "generation_config.json", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
    "model.safetensors", "adapter_model.safetensors",
    "rank*.safetensors", "rank*.engine",
    # scripts and folders of TensorRT-LLM and of the stock repository
    "convert_checkpoint.py", "quantize.py", "run.py", "examples/", "qwen/", "models/core/qwen/", "fill_template.py",
    "launch_triton_server.py", "benchmark_core_model.py",
}  # fmt: skip
PATH = re.compile(r"[\w*.-]+(/[\w*.-]+)*(/|\.(py|md|ya?ml|json|toml|sh|txt|pbtxt|jinja|html|safetensors|engine))")
TOP = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != "build"}


def exists(name: str, folders: list[Path]) -> bool:
    """Whether a path, `*` included, is found in one of the folders, or a name without a folder in the repository."""
    if any(next(folder.glob(name), None) for folder in folders):
        return True
    return "/" not in name.rstrip("/") and any(next((ROOT / top).rglob(name.rstrip("/")), None) for top in TOP)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_exist(page: Path) -> None:
    """Code spans that look like a file or folder, and words of commands that begin with a folder of the repository."""
    folders = [ROOT, page.parent, *(ROOT / base for base in BASES.get(page_name(page), ()))]
    named = {span for span in spans(page) if PATH.fullmatch(span)}
    named |= {word for line in commands(page) for word in line.split() if word.split("/")[0] in TOP and "/" in word}
    missing = [n for n in sorted(named - ELSEWHERE) if re.fullmatch(r"[\w*./-]+", n) and not exists(n, folders)]
    assert missing == []


@pytest.mark.parametrize("page", BASES)
def test_a_page_names_the_folders_that_its_files_are_in(page: str) -> None:
    assert [base for base in BASES[page] if f"`{base}`" not in (ROOT / page).read_text()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_modules_and_what_is_in_them_exist(page: Path) -> None:
    """Dotted names of our packages, such as `qwen_triton.engines.process.main`."""
    dotted = {s for s in spans(page) if re.fullmatch(rf"({'|'.join([*PACKAGES, 'tests', 'demo'])})(\.\w+)+", s)}
    files = {s for s in dotted if s.endswith((".py", ".yaml", ".md"))}
    assert [name for name in sorted(dotted - files) if find_spec(name) is None] == []


@pytest.mark.parametrize("name", ["docs/life-of-a-request.md", "CONTRIBUTING.md", "docs/clients.md"])
def test_classes_exist(name: str) -> None:
    """Code spans in CamelCase are public classes of the packages."""
    classes = {class_name for class_name, _ in public_classes()} | {"None", "ModelStreamInfer"}
    named = {span for span in spans(ROOT / name) if re.fullmatch(r"([A-Z][a-z]+)+[A-Z]?[a-z]*", span)}
    assert sorted(named - classes) == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_to_a_section_find_its_heading(page: Path) -> None:
    """Anchors as GitHub makes them: lower case, spaces to hyphens, punctuation dropped."""
    missing = []
    for file, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / file).read_text() if file else page.read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        if anchor not in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}:
            missing.append(f"{file}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("page", README, ids=page_name)
def test_a_readme_has_at_most_150_lines_and_names_every_folder(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= 150
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    unnamed = {f for f in folders - {"build", "dist"} if not f.endswith(".egg-info") and f"`{f}/" not in text}
    assert unnamed == set()


def test_contributing_fits_on_a_page() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 80


@pytest.mark.parametrize("page", README, ids=page_name)
def test_a_readme_links_every_page(page: Path) -> None:
    text = page.read_text()
    assert [doc.name for doc in (ROOT / "docs").glob("*.md") if f"](docs/{doc.name})" not in text] == []


@pytest.mark.parametrize(
    "section", [Deployment, OpenVinoSection, ReplaySection, TensorRtLlmSection, Repository, Server]
)
def test_every_key_of_a_deployment_is_explained(section: type[Deployment]) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [key for key in section.model_fields if not re.search(rf"`{key}[`:]", text)] == []


def test_every_limit_has_its_row() -> None:
    """Key, default and meaning, as in the core's table."""
    text = (ROOT / "docs" / "limits.md").read_text()
    rows = [f"| `{key}` | {row.default} | {row.metadata['help']} |" for key, row in LIMITS.items()]
    assert [row for row in rows if row not in text] == []


def test_every_input_and_output_is_explained() -> None:
    text = (ROOT / "docs" / "requests.md").read_text()
    assert [t.name for t in (*BLS_INPUTS, *BLS_OUTPUTS) if f"`{t.name}`" not in text] == []
