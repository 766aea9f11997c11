"""The converter: what it writes, when it writes, and what of it is ever used."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from qwen_triton.checkpoint.weights import Checkpoint
from qwen_triton.engines.openvino.convert import convert, convert_cached, main
from qwen_triton.engines.openvino.weight_nodes import quantise_rows
from qwen_triton.errors import ConfigurationError
from tests.support.checkpoints import CONFIGS, prompts, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model", "qwen2-tied-bf16")


def convert_in_process(folder: Path, cache: Path) -> None:
    convert_cached(folder, "int8", cache, lambda line: print(line, file=(cache / str(os.getpid())).open("a")))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_graph_has_the_names_that_paged_attention_looks_for(name: str, tmp_path: Path) -> None:
    """Inputs, output and one key and one value variable per layer, as stateful language models have them."""
    convert(Checkpoint.open(write_checkpoint(tmp_path / "model", name)), "stored", tmp_path / "out")
    model = ov.Core().read_model(tmp_path / "out" / "openvino_model.xml")
    assert [port.any_name for port in model.inputs] == ["input_ids", "attention_mask", "position_ids", "beam_idx"]
    assert [port.any_name for port in model.outputs] == ["logits"]
    head_dim = CONFIGS[name].get("head_dim", 16)
    variables = {v.info.variable_id: str(v.info.data_shape) for v in model.get_variables()}
    assert variables == {
        f"past_key_values.{layer}.{kind}present.{layer}.{kind}": f"[?,2,?,{head_dim}]"
        for layer in range(3)
        for kind in ("key", "value")
    }


def test_a_padded_row_answers_like_the_row_alone(checkpoint: Path, tmp_path: Path) -> None:
    """The mask hides padding on the left and everything later, also outside of paged attention."""
    convert(Checkpoint.open(checkpoint), "stored", tmp_path / "out")
    compiled = ov.Core().compile_model(
        tmp_path / "out" / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    )

    def logits(rows: list[list[int]], mask: list[list[int]]) -> np.ndarray:
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        inputs = {"input_ids": rows, "attention_mask": mask, "position_ids": positions}
        arrays = {key: np.array(value, np.int64) for key, value in inputs.items()}
        beams = {"beam_idx": np.arange(len(rows), dtype=np.int32)}
        return compiled.create_infer_request().infer(arrays | beams)["logits"]

    row, other = prompts(2)[1][:6], prompts(3)[2][:9]
    alone = logits([row], [[1] * 6])[0]
    padded = logits([[0, 0, 0, *row], other], [[0, 0, 0] + [1] * 6, [1] * 9])[0, 3:]
    np.testing.assert_allclose(padded, alone, atol=1e-4)
    np.testing.assert_allclose(logits([row[:4]], [[1] * 4])[0], alone[:4], atol=1e-4)


def test_weights_keep_their_type_and_are_marked(checkpoint: Path, tmp_path: Path) -> None:
    """bf16 weights stay bf16 in the file, once though tied, and each conversion carries the decompression mark."""
    convert(Checkpoint.open(checkpoint), "stored", tmp_path / "out")
    stored, written = ((tmp_path / p).stat().st_size for p in ("model/model.safetensors", "out/openvino_model.bin"))
    assert written < stored * 1.05
    layers = {e.get("id"): e for e in ET.parse(tmp_path / "out" / "openvino_model.xml").iter("layer")}
    edges = list(ET.parse(tmp_path / "out" / "openvino_model.xml").iter("edge"))
    fed = [
        layers[e.get("to-layer")]
        for e in edges
        if (data := layers[e.get("from-layer")].find("data")) is not None and data.get("element_type") == "bf16"
    ]
    assert len(fed) == len(Checkpoint.open(checkpoint).tensors)
    assert all(e.find("rt_info/attribute[@name='decompression'][@version='0']") is not None for e in fed)


def test_generation_config_stays_behind(checkpoint: Path, tmp_path: Path) -> None:
    """openvino-genai would add its end ids to every request, so it is not beside the converted model."""
    (checkpoint / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    convert(Checkpoint.open(checkpoint), "stored", tmp_path / "out")
    names = ["config.json", "openvino_model.bin", "openvino_model.xml"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_int8_rows_are_symmetric_and_close() -> None:
    """Each row has its own scale, its largest value is ±127, no value is off by more than half a step, zeros stay."""
    matrix = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    matrix[3] = 0
    rows, scales = quantise_rows(matrix)
    assert np.abs(rows).max(axis=1).tolist() == [127, 127, 127, 0, 127]
    assert np.all(np.abs(rows * scales - matrix) <= scales / 2 * 1.0001)
    bits = (matrix.view(np.uint32) >> 16).astype(np.uint16)
    truncated = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(quantise_rows(bits)[0], quantise_rows(truncated)[0])


def test_a_second_call_converts_nothing(checkpoint: Path, tmp_path: Path) -> None:
    """The first call reports progress and writes; the second returns the same folder without a word."""
    lines: list[str] = []
    first = convert_cached(checkpoint, "stored", tmp_path / "cache", lines.append)
    assert lines[0] == f"converting {checkpoint}: 38 tensors, 0.2 M weights, stored"
    assert lines[1] == f"writing {first}.partial"
    assert lines[2].startswith("converted in ")
    lines.clear()
    assert convert_cached(checkpoint, "stored", tmp_path / "cache", lines.append) == first
    assert lines == []


def test_what_changes_the_answer_changes_the_folder(checkpoint: Path, tmp_path: Path) -> None:
    """Weight format, config.json's content and the weight file's time are in the key; config.json's time is not."""
    cache = tmp_path / "cache"
    first = convert_cached(checkpoint, "stored", cache)
    os.utime(checkpoint / "config.json", (1, 1))
    assert convert_cached(checkpoint, "stored", cache) == first
    folders = {first, convert_cached(checkpoint, "int8", cache)}
    os.utime(checkpoint / "model.safetensors", (1, 1))
    folders.add(convert_cached(checkpoint, "stored", cache))
    write_checkpoint(checkpoint, "qwen2-tied-bf16", rope_theta=500.0)
    os.utime(checkpoint / "model.safetensors", (1, 1))
    folders.add(convert_cached(checkpoint, "stored", cache))
    assert len(folders) == 4


def test_a_half_written_conversion_is_not_used(checkpoint: Path, tmp_path: Path) -> None:
    """What a killed converter left is thrown away and made anew, under the same name."""
    target = convert_cached(checkpoint, "stored", tmp_path / "cache")
    partial = target.with_name(target.name + ".partial")
    target.rename(partial)
    (partial / "openvino_model.bin").write_bytes(b"half")
    lines: list[str] = []
    assert convert_cached(checkpoint, "stored", tmp_path / "cache", lines.append) == target
    assert lines[-1].startswith("converted in ")
    assert (target / "openvino_model.bin").stat().st_size > 4
    assert not partial.exists()


def test_a_failed_conversion_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    """A report that fails half way stands for a full disk: no folder remains that could be taken for a model."""

    def stop(line: str) -> None:
        if line.startswith("writing"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        convert_cached(checkpoint, "stored", tmp_path / "cache", stop)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_concurrent_converters_convert_once(checkpoint: Path, tmp_path: Path) -> None:
    """Four processes want the same model at once: one converts, the others wait for it and use it."""
    cache = tmp_path / "cache"
    cache.mkdir()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=convert_in_process, args=(checkpoint, cache)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    reports = [path for path in cache.iterdir() if path.name.isdigit()]
    assert len(reports) == 1


def test_a_cache_that_cannot_be_written_is_named(checkpoint: Path, tmp_path: Path) -> None:
    """A file where the cache folder should be: one line with the remedy."""
    (tmp_path / "cache").touch()
    with pytest.raises(ConfigurationError) as caught:
        convert_cached(checkpoint, "stored", tmp_path / "cache")
    assert str(caught.value) == f"{tmp_path}/cache: cannot be written (File exists); set another cache"


def test_the_command_converts_and_tells_how_it_went(checkpoint: Path, tmp_path: Path) -> None:
    """Progress and figures on stderr, the folder on stdout; a second run into the same folder is refused."""
    command = [sys.executable, "-m", "qwen_triton.engines.openvino.convert", str(checkpoint)]
    command += ["--weights", "int8", "--output", str(tmp_path / "out")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (first.returncode, first.stdout) == (0, f"{tmp_path}/out\n")
    assert first.stderr.splitlines()[0] == f"converting {checkpoint}: 38 tensors, 0.2 M weights, int8"
    assert first.stderr.splitlines()[-3:-1] == ["rounded 100 %", f"writing {tmp_path}/out.partial"]
    assert first.stderr.splitlines()[-1].startswith("converted in ")
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == f"error: {tmp_path}/out: exists already; remove it or name another --output\n"


def test_the_command_shows_a_refusal_as_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback for a checkpoint that is not covered."""
    folder = write_checkpoint(tmp_path / "model", "qwen2-tied-bf16")
    config = (folder / "config.json").read_text().replace('"use_sliding_window": false', '"use_sliding_window": true')
    (folder / "config.json").write_text(config)
    assert main([str(folder), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        "error: config.json: use_sliding_window: sliding-window attention is not covered; use a dense Qwen2, Qwen2.5 "
        "or Qwen3 checkpoint, or export this one to OpenVINO with optimum-intel\n"
    )
