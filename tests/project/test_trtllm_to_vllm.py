"""The page from TensorRT-LLM to vLLM and llmapi has every key of the one, and only keys that the others have."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest

from qwen_triton.engines.llmapi.options import LlmapiOptions
from qwen_triton.engines.vllm.options import VllmOptions
from qwen_triton_build.deployment.build_section import Build
from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from tests.support.folders import DATA, ROOT

PAGE = (ROOT / "docs" / "trtllm-to-vllm.md").read_text()


def rows(section: str) -> list[list[str]]:
    """The cells of each row of the table below a heading."""
    table = PAGE.partition(f"## `{section}`\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> set[str]:
    """The keys that a cell names: the first word of each code span."""
    return {match[1] for span in re.findall(r"`([^`]+)`", cell) if (match := re.match(r"(\w+)", span))}


@pytest.mark.parametrize(("section", "model"), [("engine:", TensorRtLlmSection), ("build:", Build)])
def test_every_key_has_a_row(section: str, model: type[TensorRtLlmSection] | type[Build]) -> None:
    named = set[str]().union(*(names(row[0]) for row in rows(section)))
    assert set(model.model_fields) - {"kind"} <= named


@pytest.mark.parametrize("version", ["0.26.0", "0.33.0"])
def test_what_it_names_of_vllm_is_there(version: str) -> None:
    """Options of ours, and in `extra` arguments that both releases take."""
    options = {field.name for field in fields(VllmOptions)}
    taken = json.loads((DATA / "vllm" / f"{version}.json").read_text())["vllm.engine.arg_utils.EngineArgs"]
    cells = [row[1] for section in ("engine:", "build:") for row in rows(section)]
    assert set[str]().union(*map(names, cells)) <= options
    extras = {match for cell in cells for match in re.findall(r"extra: \{(\w+)", cell)}
    assert len(extras) == 4
    assert extras <= set(taken)


@pytest.mark.parametrize("version", ["1.2.1", "1.4.0rc4"])
def test_what_it_names_of_llmapi_is_there(version: str) -> None:
    """Options of ours, in `extra` arguments that both releases take, in `kv_cache_config` keys of upstream's."""
    options = {field.name for field in fields(LlmapiOptions)}
    taken = json.loads((DATA / "llmapi" / f"{version}.json").read_text())["TorchLlmArgs"]
    cells = [row[2] for section in ("engine:", "build:") for row in rows(section)]
    assert set[str]().union(*map(names, cells)) <= options
    assert {match for cell in cells for match in re.findall(r"extra: \{(\w+)", cell)} == {"peft_cache_config"} & set(
        taken
    )
    cache = {match for cell in cells for match in re.findall(r"kv_cache_config: \{(\w+)", cell)}
    known = {
        "free_gpu_memory_fraction",
        "max_tokens",
        "host_cache_size",
        "enable_block_reuse",
        "max_attention_window",
        "dtype",
    }
    assert cache == known
