"""Stock's way of filling still works: the blog's commands, run on a copy of our repository, give complete configs."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton.tensors.contract import INPUTS
from tests.support import stock_fill
from tests.support.folders import ROOT


@pytest.mark.parametrize(("commands", "batch"), [(stock_fill.PLAIN, 4), (stock_fill.OPTIMISED, 64)])
def test_the_blog_s_commands_fill_every_place_that_needs_it(commands: str, batch: int, tmp_path: Path) -> None:
    """Each file parses as a model configuration and holds the values that the commands name."""
    folder = copytree(ROOT / "model_repository", tmp_path / "repository")
    stock_fill.run_commands(commands, {"MODEL_FOLDER": str(folder), "TOKENIZER_DIR": "/models/q/", "ENGINE_DIR": "/e/"})
    configs = {
        model: text_format.Parse((folder / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        for model in INPUTS
    }
    assert {config.max_batch_size for config in configs.values()} == {batch}
    engine = configs["tensorrt_llm"]
    assert (engine.backend, engine.model_transaction_policy.decoupled) == ("tensorrtllm", False)
    assert engine.parameters["gpt_model_path"].string_value == "/e/"
    assert engine.parameters["gpt_model_type"].string_value == "inflight_fused_batching"
    assert configs["preprocessing"].parameters["tokenizer_dir"].string_value == "/models/q/"
    unfilled = engine.parameters["kv_cache_free_gpu_mem_fraction"].string_value
    assert unfilled == "${kv_cache_free_gpu_mem_fraction}"


def test_later_scripts_find_the_keys_that_stock_s_files_have(tmp_path: Path) -> None:
    """From 0.19 fill_template.py refuses a key that a file does not hold; the keys of 0.14's files are there."""
    folder = copytree(ROOT / "model_repository", tmp_path / "repository")
    values = "triton_max_batch_size:8,max_queue_delay_microseconds:0"
    stock_fill.fill_template(folder / "tensorrt_llm" / "config.pbtxt", values, escapes=True, asserts=True)
    with pytest.raises(AssertionError, match="key 'no_such' does not exist"):
        stock_fill.fill_template(folder / "ensemble" / "config.pbtxt", "no_such:1", escapes=True, asserts=True)
