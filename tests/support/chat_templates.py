"""The chat templates of Qwen's families: those that are published in packages, and small ones of our own for the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.folders import DATA

JSON_FAMILIES = ("qwen2.5", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507")
XML_FAMILIES = ("qwen3-coder", "qwen3.5-think", "qwen3.5-nothink", "qwen3.6", "qwen3.8")
FAMILIES = JSON_FAMILIES + XML_FAMILIES
_FETCHED = {
    "qwen3-instruct-2507": "qwen3_instruct_2507",
    "qwen3.5-think": "qwen3_5_think",
    "qwen3.5-nothink": "qwen3_5_nothink",
    "qwen3.6": "qwen3_6",
    "qwen3.8": "qwen3_8",
}


def family_templates(qwen_folder: Path, qwen25: Tokenizer, qwen3: Tokenizer) -> Mapping[str, ChatTemplate]:
    """{family: its template}; `qwen_folder` is what `fetch_qwen` made. All but Qwen2.5 have the tokenizer of Qwen3."""
    files = {family: qwen_folder / f"{name}.jinja" for family, name in _FETCHED.items()}
    for family in ("qwen3-thinking-2507", "qwen3-coder"):
        files[family] = DATA / "templates" / f"{family.replace('-', '_')}.jinja"
    return {
        "qwen2.5": ChatTemplate.from_folder(qwen_folder / "qwen2.5", qwen25),
        "qwen3": ChatTemplate.from_folder(qwen_folder / "qwen3", qwen3),
        **{family: ChatTemplate(qwen3, {"default": file.read_text()}, {}) for family, file in files.items()},
    }
