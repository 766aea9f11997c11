"""Facts about an engine model of another backend, read from its config.pbtxt."""

from __future__ import annotations

from pathlib import Path

from qwen_triton.engines.triton_model.facts import EngineModelFacts

CONFIG = """name: "tensorrt_llm"
backend: "tensorrtllm"
model_transaction_policy { decoupled: True }
input [ { name: "input_ids" } ]"""


def test_what_the_bls_knows_of_another_backends_model(tmp_path: Path) -> None:
    (tmp_path / "tensorrt_llm").mkdir()
    (tmp_path / "tensorrt_llm" / "config.pbtxt").write_text(CONFIG)
    facts = EngineModelFacts.read(tmp_path, "tensorrt_llm", 100, 200)
    assert facts == EngineModelFacts(frozenset({"tensorrt_llm", "input_ids"}), True, False, 100, 200)
