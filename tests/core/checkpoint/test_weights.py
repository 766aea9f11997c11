"""Reading a Hugging Face folder: where the tensors lie, and what is said when something is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qwen_triton.checkpoint.weights import Checkpoint
from qwen_triton.errors import ConfigurationError
from tests.support.checkpoints import write_checkpoint, write_safetensors

VALUES = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1.0, 1.00390625, -2.5])}


def folder_with(path: Path, dtype: str = "F32") -> Path:
    (path / "config.json").write_text('{"model_type": "qwen2"}')
    write_safetensors(path / "model.safetensors", VALUES, dtype)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Checkpoint.open(path)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_tensors_come_with_their_values_and_shapes(tmp_path: Path, dtype: str) -> None:
    """f32 and f16 tensors are what was written, from any place in the file."""
    checkpoint = Checkpoint.open(folder_with(tmp_path, dtype))
    np.testing.assert_array_equal(checkpoint.tensors["a"].array(), VALUES["a"])
    np.testing.assert_array_equal(checkpoint.tensors["b"].array(), VALUES["b"].astype(np.float16))


def test_bf16_comes_as_bits(tmp_path: Path) -> None:
    """numpy has no bf16: its 16 bits arrive in uint16, rounded to even when they were written."""
    checkpoint = Checkpoint.open(folder_with(tmp_path, "BF16"))
    assert checkpoint.tensors["b"].array().tolist() == [0x3F80, 0x3F80, 0xC020]


def test_shards_make_one_checkpoint(tmp_path: Path) -> None:
    """Three files with an index hold the same tensors as one file."""
    whole = Checkpoint.open(write_checkpoint(tmp_path / "one", "qwen2-untied-f32"))
    parts = Checkpoint.open(write_checkpoint(tmp_path / "three", "qwen2-untied-f32", shards=3))
    assert len(parts.files) == 3
    assert sorted(parts.tensors) == sorted(whole.tensors)
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(parts.tensors[name].array(), tensor.array())


def test_missing_files_are_named(tmp_path: Path) -> None:
    """No config.json, no weights, only .bin weights, a shard that is not there: each its own line."""
    assert refusal(tmp_path) == (
        f"{tmp_path}/config.json: no such file; give a folder with a Hugging Face checkpoint, fetched whole"
    )
    (tmp_path / "config.json").write_text("{}")
    nothing = f"{tmp_path}: neither model.safetensors nor model.safetensors.index.json is there; "
    assert refusal(tmp_path) == nothing + "fetch the weights"
    (tmp_path / "pytorch_model.bin").touch()
    assert refusal(tmp_path) == nothing + "convert its .bin files to safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "x.safetensors"}}))
    assert refusal(tmp_path) == (
        f"{tmp_path}/x.safetensors: named by model.safetensors.index.json but missing; fetch it again"
    )


def test_a_file_cut_short_is_told_by_its_sizes(tmp_path: Path) -> None:
    """A download that stopped half way is refused before anything is converted."""
    file = folder_with(tmp_path) / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    size = len(whole)
    assert refusal(tmp_path) == f"{file}: is {size - 5} bytes, its header asks for {size}: cut short; fetch it again"
    file.write_bytes(whole[:20])
    assert refusal(tmp_path) == f"{file}: is not safetensors or was cut short (20 bytes); fetch it again"


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    """A clone without git-lfs has small text files in place of the weights."""
    file = folder_with(tmp_path) / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert refusal(tmp_path) == f"{file}: is a Git LFS pointer, not the weights; run `git lfs pull`"


def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """A shape that does not fill its bytes would be read as somebody else's values."""
    file = folder_with(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape": [2, 3]', b'"shape": [2, 4]'))
    assert refusal(tmp_path) == (f"{file}: has a damaged header (24 bytes for a tensor F32[2, 4]); fetch it again")


def test_quantised_weights_are_refused_by_type(tmp_path: Path) -> None:
    """Types other than the three float ones are not silently misread."""
    file = folder_with(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"I32"'))
    with pytest.raises(ConfigurationError) as caught:
        Checkpoint.open(tmp_path).tensors["a"].array()
    assert str(caught.value) == (
        f"{file}: weights of type I32 are not supported (only BF16, F16, F32); use the checkpoint that is not quantised"
    )
