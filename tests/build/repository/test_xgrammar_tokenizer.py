"""What TensorRT-LLM's xgrammar must know of the tokenizer is written beside its model, in the form of NVIDIA's own script."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton_build.deployment.engine_sections import TensorRtLlmSection
from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render
from qwen_triton_build.repository.xgrammar_tokenizer import tokenizer_info
from tests.support.engine_folders import write_engine


def test_it_has_the_tokens_by_id_the_tokenizer_and_the_end(qwen3_folder: Path) -> None:
    """Tokens are spelt in the letters of their bytes, as in tokenizer.json; added ones as they are."""
    found = json.loads(tokenizer_info(qwen3_folder))
    assert found.keys() == {"encoded_vocab", "tokenizer_str", "stop_token_ids"}
    assert len(found["encoded_vocab"]) == 151_669
    assert [found["encoded_vocab"][i] for i in (0, 220, 198, 151_645, 151_668)] == [
        "!",
        "Ġ",
        "Ċ",
        "<|im_end|>",
        "</think>",
    ]
    assert found["stop_token_ids"] == [151_645]
    given, written = json.loads((qwen3_folder / "tokenizer.json").read_text()), json.loads(found["tokenizer_str"])
    assert written["model"]["vocab"] == given["model"]["vocab"]
    assert written["decoder"]["type"] == "ByteLevel"


def test_a_repository_that_keeps_forms_has_the_file_and_names_it(qwen3_folder: Path, tmp_path: Path) -> None:
    folder = copytree(qwen3_folder, tmp_path / "checkpoint")
    engine = TensorRtLlmSection(
        kind="tensorrtllm", engine_dir=write_engine(tmp_path / "engine", "0.21.0"), guided_decoding_backend="xgrammar"
    )
    values = placeholders(Deployment(model="m", engine=engine), folder)
    repository = render(values, tmp_path / "repository")
    text = (repository / "tensorrt_llm" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    named = Path(config.parameters["xgrammar_tokenizer_info_path"].string_value)
    assert named == repository / "tensorrt_llm" / "xgrammar_tokenizer_info.json"
    assert named.read_text() == tokenizer_info(folder)
    assert render(values, tmp_path / "repository") == repository, "and again"
