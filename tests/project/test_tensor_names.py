"""A tensor's name is spelled in one place, so that a reader and a writer of it cannot disagree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from qwen_triton import types
from qwen_triton.tensors import contract
from qwen_triton_client.parameters import PARAMETERS
from qwen_triton_openai.bodies.parameters import PARAMETERS as OPENAI
from tests.project.test_import_order import FILES, name

CONTRACT = "qwen_triton/tensors/contract.py"
TABLE = "qwen_triton/types.py"
"""The sampling parameters' names on each wire (types.SAMPLING); contract.py makes tensors of them."""
FIELDS = {
    word
    for kind in vars(types).values()
    if isinstance(kind, type)
    for word in (*getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "_fields", ()))
}
OWN_WORDS = FIELDS | {parameter.name for parameter in (*PARAMETERS, *OPENAI)} | {"finish_reason"}
"""Fields of the core's types, keyword arguments of Session, fields of OpenAI's JSON: such a literal need not be a tensor."""
ALL = {t.name for tensors in (*contract.INPUTS.values(), *contract.OUTPUTS.values()) for t in tensors}
TENSORS = ALL - OWN_WORDS

OTHER_THINGS: dict[str, set[str]] = {
    "qwen_triton/text/tokenizer.py": {"text_input"},  # what callers call a prompt; text/ may not import tensors/
    "qwen_triton/engines/capabilities.py": {"embedding_bias"},  # a word of the table of capabilities
    "qwen_triton/engines/openvino/graph.py": {"input_ids"},  # OpenVINO's port
    "qwen_triton/engines/openvino/prompt_scorer.py": {"input_ids"},  # the same
    "qwen_triton/engines/replay/engine.py": {"input_ids"},
    "qwen_triton/engines/gpu/bounds.py": {"input_ids"},
    "qwen_triton/engines/llmapi/core.py": {"streaming", "embedding_bias"},  # arguments of TensorRT-LLM's LLM
    "qwen_triton/engines/llmapi/engine.py": {"lora_config"},
    "qwen_triton/engines/llmapi/options.py": {"lora_config"},
    "qwen_triton/engines/llmapi/sampling.py": {"input_ids"},
    "qwen_triton/triton/settings.py": {
        "accumulate_tokens",
        "exclude_input_in_output",
        "tool_format",
    },  # parameters of a model
    "qwen_triton_build/repository/placeholders.py": {"accumulate_tokens", "exclude_input_in_output", "tool_format"},
    "qwen_triton_build/repository/overlay.py": {"min_length", "random_seed"},  # inputs that TensorRT-LLM 0.20 dropped
    "qwen_triton_build/doctor/repository_checks.py": {"streaming"},  # a check's name
}
"""Literals that are not tensors here, or where a tensor's name is a fact about someone else's version."""
CHECKED = [file for file in FILES if name(file) not in {CONTRACT, TABLE}]


def spelled(file: Path) -> set[str]:
    literals = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
    return {value for value in literals if isinstance(value, str)} & TENSORS


@pytest.mark.parametrize("file", CHECKED, ids=name)
def test_a_tensor_s_name_comes_from_the_contract(file: Path) -> None:
    """Constants and tables of tensors/contract.py, not literals."""
    assert spelled(file) - OTHER_THINGS.get(name(file), set()) == set()


def test_a_constant_of_the_contract_is_named_as_its_tensor() -> None:
    """Capitals of the name on the wire; those of preprocessing and postprocessing, capitals there, begin with PRE_, POST_."""
    constants = {key: value for key, value in vars(contract).items() if isinstance(value, str) and value in ALL}
    assert all(key.removeprefix("PRE_").removeprefix("POST_") == value.upper() for key, value in constants.items())
    assert all(value.isupper() == key.startswith(("PRE_", "POST_")) for key, value in constants.items())
