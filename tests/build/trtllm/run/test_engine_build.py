"""`qwen-triton build` from start to end on a TensorRT-LLM that builds nothing: real processes, real files, real faults."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel

from qwen_triton_build.cli import main
from tests.support.fake_trtllm import FakeTensorRtLlm, install
from tests.support.interrupts import interruptible_children

CONFIG = {"model_type": "qwen2", "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8} | {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "vocab_size": 152_064,
    "max_position_embeddings": 32_768,
}
WAIT_S = 60.0


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of single bytes and one end: whole, and read in no time."""
    bytewise = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(sorted(ByteLevel.alphabet()))}, merges=[]))
    bytewise.pre_tokenizer, bytewise.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bytewise.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    folder.mkdir()
    bytewise.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Workshop:
    """A folder with a model, a fake TensorRT-LLM and the engine that is being built."""

    def __init__(self, folder: Path, version: str = "0.14.0", **machine: Any) -> None:
        self.model = folder / "model"
        write_tokenizer(self.model)
        (self.model / "config.json").write_text(json.dumps(CONFIG))
        (self.model / "model.safetensors").write_bytes(b"weights")
        self.fake: FakeTensorRtLlm = install(folder / "trtllm", version, **machine)
        self.folder = folder
        self.engine = folder / "engines" / "e"
        self.checkpoint = folder / "engines" / "e.checkpoint"
        self.state = folder / "engines" / "e.build"

    def command(self, *flags: str) -> list[str]:
        return [
            *(sys.executable, "-m", "qwen_triton_build.cli", "build", "--model", str(self.model)),
            *("--engine-dir", str(self.engine), "--examples", str(self.fake.examples), *flags),
        ]

    def build(self, *flags: str, **faults: str) -> Done:
        """One whole run of the command, in this process; its steps are processes of their own."""
        told, said = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(told), redirect_stdout(said):
            for name, value in self.fake.environment(**faults).items():
                patch.setenv(name, value)
            code = main(self.command(*flags)[3:])
        return Done(code, said.getvalue(), told.getvalue())

    def refused(self, *flags: str, **faults: str) -> str:
        """The one line of a run that must fail, without trace, and leave nothing half-written."""
        done = self.build(*flags, **faults)
        lines = [line for line in done.stderr.splitlines() if line.startswith("qwen-triton: ")]
        assert done.returncode in (1, 2), done.stderr
        assert "Traceback" not in done.stderr
        assert self.leftovers() == []
        (line,) = lines
        return line.removeprefix("qwen-triton: ")

    def leftovers(self) -> list[str]:
        """Folders that are neither finished nor gone."""
        return [p.name for p in self.engine.parent.glob(".*-*")] if self.engine.parent.exists() else []

    def manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "manifest.json").read_text()))

    def wrote(self) -> dict[str, float]:
        """When each file of checkpoint and engine was written."""
        files = [*self.checkpoint.glob("*"), *self.engine.glob("*")]
        return {f"{file.parent.name}/{file.name}": file.stat().st_mtime for file in files}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        ("0.14.0", ("--pp", "2", "--quantization", "int4_weight_only")),
        ("0.21.0", ("--quantization", "int4_awq", "--kv-cache", "int8", "--profile", "latency")),
        ("1.0.3.2510", ("--tp", "2", "--kv-cache", "int8", "--profile", "throughput", "--quantization", "smoothquant")),
        ("1.2.1", ("--kv-cache", "fp8", "--profile", "long-context", "--dtype", "auto")),
    ],
)
def test_an_engine_is_built_and_run(version: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    """Three steps, an engine with all its ranks, and a manifest that says what was done."""
    workshop = Workshop(tmp_path, version)
    done = workshop.build(*flags)
    assert done.returncode == 0, done.stderr
    ranks = 2 if {"--pp", "--tp"} & set(flags) else 1
    names = {"config.json", "qwen-triton.json", *(f"rank{r}.engine" for r in range(ranks))}
    assert {file.name for file in workshop.engine.iterdir()} == names
    assert workshop.leftovers() == []
    manifest = workshop.manifest()
    assert manifest["tensorrt_llm"] == version
    assert {name: step["outcome"] for name, step in manifest["steps"].items()} == dict.fromkeys(
        ("convert", "build", "run"), "done"
    )
    assert manifest["model"]["files"]["model.safetensors"]["sha256"].startswith("9a129038")
    log = Path(manifest["steps"]["run"]["log"]).read_text()
    assert 'Output [Text 0 Beam 0]: "我叫通义千问。"' in log


def test_what_is_done_is_not_done_again(workshop: Workshop) -> None:
    """The next run touches nothing; --force does all again."""
    assert workshop.build().returncode == 0
    before = workshop.wrote()
    again = workshop.build()
    assert (again.returncode, again.stderr.count(" done")) == (0, 3)
    assert workshop.wrote() == before
    assert workshop.build("--force").returncode == 0
    assert all(workshop.wrote()[name] > when for name, when in before.items())


def test_a_change_redoes_what_depends_on_it(workshop: Workshop) -> None:
    """Another flag of trtllm-build keeps the checkpoint; other weights do not."""
    assert workshop.build().returncode == 0
    before = workshop.wrote()
    assert workshop.build("--build-flag", "max_seq_len=4096").returncode == 0
    after = workshop.wrote()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"e/config.json", "e/rank0.engine", "e/qwen-triton.json"}
    (workshop.model / "model.safetensors").write_bytes(b"other weights")
    assert workshop.build("--build-flag", "max_seq_len=4096").returncode == 0
    assert workshop.wrote()["e.checkpoint/rank0.safetensors"] > after["e.checkpoint/rank0.safetensors"]


def test_two_engines_share_a_checkpoint(workshop: Workshop) -> None:
    """The blog builds two engines of one checkpoint: the second build finds it done."""
    assert workshop.build().returncode == 0
    before = workshop.wrote()
    workshop.engine = workshop.engine.with_name("other")
    done = workshop.build("--checkpoint-dir", str(workshop.checkpoint), "--profile", "throughput")
    assert (done.returncode, done.stderr.count(" done")) == (0, 1)
    assert workshop.wrote()["e.checkpoint/rank0.safetensors"] == before["e.checkpoint/rank0.safetensors"]


def test_a_checkpoint_that_lost_a_file_is_made_again(workshop: Workshop) -> None:
    """What the manifest calls done must also be there."""
    assert workshop.build("--pp", "2").returncode == 0
    (workshop.checkpoint / "rank1.safetensors").unlink()
    assert workshop.build("--pp", "2").returncode == 0
    assert (workshop.checkpoint / "rank1.safetensors").is_file()


@pytest.mark.parametrize(
    ("step", "fault", "error"),
    [
        ("convert", "fail",
         "step convert failed with code 1: RuntimeError: CUDA out of memory; its log: {s}/logs/1-convert.log"),
        ("build", "fail", "step build failed with code 1: RuntimeError: CUDA out of memory; its log: {s}/logs/2-build.log"),
        ("build", "killed", "step build was ended by signal 9: [build] wrote rank0.engine; its log: {s}/logs/2-build.log"),
        ("build", "forget", "step build ended well but left no rank1.engine; its log: {s}/logs/2-build.log"),
        ("run", "fail", "step run failed with code 1: RuntimeError: CUDA out of memory; its log: {s}/logs/3-run.log"),
    ],
)  # fmt: skip
def test_a_step_that_fails_says_why_and_is_resumed(step: str, fault: str, error: str, workshop: Workshop) -> None:
    """One line with the tool's last words; the output is not there; the next run goes on at this step."""
    assert workshop.refused("--pp", "2", **{step: fault}) == error.format(s=workshop.state)
    assert workshop.engine.exists() == (step == "run")
    assert workshop.checkpoint.exists() == (step != "convert")
    before = workshop.wrote()
    assert workshop.build("--pp", "2").returncode == 0
    after = workshop.wrote()
    assert {name: after[name] for name in before} == before, "steps before the broken one were done again"
    assert (workshop.engine / "rank1.engine").is_file()


def test_a_build_that_is_killed_is_resumed(workshop: Workshop) -> None:
    """kill -9 in the middle of trtllm-build: the tool ends too, the engine folder is not there, the next run completes it."""
    running = subprocess.Popen(
        workshop.command(), env=workshop.fake.environment(build="hang"), stderr=subprocess.DEVNULL
    )
    hanging = _until(lambda: next(iter(workshop.engine.parent.glob(".e.partial-*/hanging")), None))
    running.send_signal(signal.SIGKILL)
    running.wait(WAIT_S)
    assert not workshop.engine.exists()
    assert (workshop.checkpoint / "rank0.safetensors").is_file()
    _until(lambda: not _writers(hanging.parent))
    before = workshop.wrote()
    assert workshop.build().returncode == 0
    assert workshop.leftovers() == []
    assert {name: workshop.wrote()[name] for name in before} == before
    assert (workshop.engine / "rank0.engine").is_file()


@pytest.mark.parametrize(("number", "fault"), [(signal.SIGINT, "hang"), (signal.SIGTERM, "stubborn")])
def test_a_build_that_is_stopped_cleans_up(number: signal.Signals, fault: str, workshop: Workshop) -> None:
    """Ctrl-C and SIGTERM: the tool ends, what it was writing is removed, the exit code is not 0."""
    environment = workshop.fake.environment(build=fault)
    with interruptible_children():
        running = subprocess.Popen(workshop.command(), env=environment, stderr=subprocess.PIPE, text=True)
    hanging = _until(lambda: next(iter(workshop.engine.parent.glob(".e.partial-*/hanging")), None))
    running.send_signal(number)
    _, told = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130
    assert told.splitlines()[-1] == (
        "qwen-triton: stopped; what was being written is removed, the same command goes on"
    )
    assert workshop.leftovers() == []
    assert _writers(hanging.parent) == []
    assert workshop.manifest()["steps"]["build"]["outcome"] == "broken"


def test_two_builds_of_one_engine_do_not_meet(workshop: Workshop) -> None:
    """The second is refused while the first runs."""
    running = subprocess.Popen(
        workshop.command(), env=workshop.fake.environment(build="hang"), stderr=subprocess.DEVNULL
    )
    try:
        _until(lambda: next(iter(workshop.engine.parent.glob(".e.partial-*/hanging")), None))
        done = workshop.build()
        assert done.returncode == 2
        assert "another build that writes it is running; wait for it" in done.stderr
    finally:
        running.terminate()
        running.wait(WAIT_S)


def _until(found: Any) -> Any:
    """What `found()` gives once it is true."""
    deadline = time.monotonic() + WAIT_S
    while not (result := found()):
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.05)
    return result


def _writers(folder: Path) -> list[str]:
    """Command lines of processes that write to `folder`."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and process.parent.name != str(os.getpid()):
            lines.append(line)
    return lines


def test_the_dry_run_needs_nothing_and_touches_nothing(workshop: Workshop) -> None:
    """Without tensorrt_llm and without the model: the commands, and what could not be checked."""
    command = [sys.executable, "-m", "qwen_triton_build.cli", "build", "--model", "qwen2.5-14b-instruct", "--dry-run"]
    command += ["--engine-dir", str(workshop.engine), "--trtllm-version", "1.2.1", "--quantization", "fp8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    assert (
        f"trtllm-build --checkpoint_dir {workshop.checkpoint}/ --output_dir {workshop.engine}/ --gemm_plugin disable"
        in (done.stdout.splitlines())
    )
    assert "python3 ../../../quantization/quantize.py --model_dir Qwen/Qwen2.5-14B-Instruct" in done.stdout
    assert not workshop.engine.parent.exists()


def test_what_is_built_can_be_rendered(workshop: Workshop) -> None:
    """The deployment that built the engine renders its repository: batch and context are the engine's."""
    deployment = workshop.folder / "deployment.yaml"
    settings = {
        "model": str(workshop.model),
        "engine": {"kind": "tensorrtllm", "engine_dir": "engines/e", "enable_chunked_context": True},
        "build": {"quantization": "int8_weight_only", "profile": "long-context", "tp": 2},
    }
    deployment.write_text(yaml.safe_dump(settings))
    environment = workshop.fake.environment()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
        patch.setenv("PATH", environment["PATH"])
        assert main(["build", str(deployment), "--examples", str(workshop.fake.examples)]) == 0
        assert main(["render", str(deployment), "--output", str(workshop.folder / "repository")]) == 0
    config = (workshop.folder / "repository" / "tensorrt_llm" / "config.pbtxt").read_text()
    assert "max_batch_size: 16\n" in config
    bls = (workshop.folder / "repository" / "tensorrt_llm_bls" / "config.pbtxt").read_text()
    assert 'key: "max_context"\n  value {\n    string_value: "32768"' in bls


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("num_attention_heads", "40", "num_attention_heads: expected a whole number from 1, got '40'"),
        ("num_key_value_heads", 0, "num_key_value_heads: expected a whole number from 1, got 0"),
        ("hidden_size", None, "hidden_size: expected a whole number from 1, got None"),
        ("rope_scaling", "yarn", "rope_scaling: expected an object, got 'yarn'"),
        ("quantization_config", "gptq", "quantization_config: expected an object, got 'gptq'"),
        ("quantization_config", {"bits": "4"}, "quantization_config.bits: expected a whole number, got '4'"),
    ],
)
def test_a_config_whose_values_are_of_another_kind_is_refused(
    workshop: Workshop, key: str, value: object, told: str
) -> None:
    (workshop.model / "config.json").write_text(json.dumps(CONFIG | {key: value}))
    assert workshop.refused() == f"{workshop.model}/config.json: {told}; give a Hugging Face checkpoint"


def test_the_type_of_a_scaling_stands_under_either_key(workshop: Workshop) -> None:
    """`type` counts where both are there, as TensorRT-LLM reads it; null heads are as many as the others."""
    for scaling, code in (
        ({"rope_type": "yarn"}, 2),
        ({"type": "linear", "rope_type": "yarn"}, 0),
        ({"type": "yarn"}, 2),
    ):
        changed = CONFIG | {"rope_scaling": scaling, "num_key_value_heads": None}
        (workshop.model / "config.json").write_text(json.dumps(changed))
        assert workshop.build("--dry-run").returncode == code


def test_missing_model_files_are_named(workshop: Workshop) -> None:
    """A shard that the index names, config.json, a key of it."""
    (workshop.model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert workshop.refused() == (
        f"model: {workshop.model} has no model-1.safetensors, which its index names; fetch the checkpoint again, weights "
        "included"
    )
    (workshop.model / "config.json").write_text('{"model_type": "qwen2"}')
    assert workshop.refused() == f"{workshop.model}/config.json: lacks 'num_hidden_layers'; is this a Qwen checkpoint?"
    (workshop.model / "config.json").unlink()
    assert workshop.refused() == f"{workshop.model}/config.json: no such file; give a Hugging Face checkpoint"
    assert not workshop.engine.parent.exists()


def test_an_unreadable_tokenizer_is_found_before_anything_runs(workshop: Workshop) -> None:
    """Serving would need it an hour later."""
    (workshop.model / "tokenizer.json").write_text("{")
    assert workshop.refused().startswith(f"{workshop.model}/tokenizer.json cannot be read: ")
    assert not workshop.engine.parent.exists()


def test_another_version_than_the_installed_one_is_refused(workshop: Workshop) -> None:
    """An engine runs only under the release that built it."""
    assert workshop.refused("--trtllm-version", "1.0.0") == (
        f"build.trtllm_version: 1.0.0, but {workshop.fake.folder}/bin/python3 has TensorRT-LLM 0.14.0; an engine runs only "
        "where it was built: use the image 25.10-trtllm-python-py3, or leave the key out"
    )


@pytest.mark.parametrize(
    ("machine", "flags", "error"),
    [
        ({"gpus": 0}, (), "step build: needs 1 GPU and nvidia-smi shows 0; build on the machine that will serve, in a "
         "container with --gpus all"),
        ({"gpus": 1}, ("--tp", "2"), "step run: an engine for 2 GPUs (tp 2 × pp 1) cannot run on 1; build without the first "
         "run: --no-smoke-run"),
        ({"gpus": 2}, ("--quantization", "fp8"), "build.quantization: fp8 needs compute capability 8.9 (Ada, Hopper or newer), "
         "and NVIDIA A100-SXM4-80GB has 8.0; give int8_weight_only or int4_awq"),
    ],
)  # fmt: skip
def test_gpus_that_do_not_suffice(machine: dict[str, Any], flags: tuple[str, ...], error: str, tmp_path: Path) -> None:
    """Found before the conversion, not after it."""
    workshop = Workshop(tmp_path, **machine)
    assert workshop.refused(*flags) == error
    assert not workshop.engine.parent.exists()


def test_cuda_visible_devices_counts(workshop: Workshop) -> None:
    """Two GPUs of which one is visible are one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert "cannot run on 1" in workshop.refused("--tp", "2")


def test_a_folder_that_is_not_ours_is_not_replaced(workshop: Workshop) -> None:
    """An engine from elsewhere only with --force; anything else never."""
    workshop.engine.mkdir(parents=True)
    (workshop.engine / "config.json").write_text("{}")
    assert workshop.refused() == (
        f"{workshop.engine}: was not made by qwen-triton build; --force replaces it, or give another folder"
    )
    assert workshop.build("--force").returncode == 0
    workshop.engine = workshop.folder / "home"
    workshop.engine.mkdir()
    (workshop.engine / "letter.txt").write_text("dear")
    assert workshop.refused("--force") == (
        f"{workshop.engine}: exists, and is neither a checkpoint nor an engine; give another folder"
    )
    assert (workshop.engine / "letter.txt").read_text() == "dear"


def test_scripts_that_are_missing_are_named(workshop: Workshop) -> None:
    """With the command that gets them."""
    (workshop.fake.examples / "run.py").unlink()
    assert workshop.refused() == (
        f"build.examples: no ../run.py in {workshop.fake.examples}/qwen, and step run needs it; get TensorRT-LLM's examples "
        "as a whole"
    )
    (workshop.fake.examples / "qwen" / "convert_checkpoint.py").unlink()
    assert workshop.refused() == (
        f"build.examples: no qwen/convert_checkpoint.py in {workshop.fake.examples}; get it: git clone -b v0.14.0 "
        "https://github.com/NVIDIA/TensorRT-LLM.git, and give its folder examples"
    )


def test_a_disk_that_is_too_small_is_found_first(workshop: Workshop) -> None:
    """The weights' size says what will be written; a sparse file is large enough for any disk."""
    with (workshop.model / "model.safetensors").open("r+b") as weights:
        weights.truncate(8 << 40)
    assert "GiB are free, and this build writes about 17203.3 GiB there; make room, or give" in workshop.refused()
    assert not workshop.engine.parent.exists()


def test_a_disk_that_fills_up_leaves_nothing_half_written(workshop: Workshop) -> None:
    """On a small file system of its own: the tool's error is told, the space is free again, the next run goes on."""
    workshop.engine.parent.mkdir()
    script = 'mount -t tmpfs -o size=200m none "$PLACE" && "$@"; code=$?; ls -A "$PLACE"; df --output=used "$PLACE"; exit $code'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    environment = {**workshop.fake.environment(build="disk"), "PLACE": str(workshop.engine.parent)}
    done = subprocess.run(
        [*command, *workshop.command()], env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert done.returncode == 1, done.stderr
    assert (
        "step build failed with code 1: OSError: [Errno 28] No space left on device; the disk is full: make room; its log"
        in (done.stderr)
    )
    assert done.stdout.splitlines()[:3] == [".e.checkpoint.lock", "e.build", "e.checkpoint"]
    assert int(done.stdout.splitlines()[-1]) < 1024


TIED = {"model_type": "qwen2", "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2} | {
    "hidden_size": 256,
    "intermediate_size": 512,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
"""Sizes on which upstream's converter was run: the fake one fails where that failed."""


def give_tied_weights(model: Path) -> None:
    (model / "config.json").write_text(json.dumps(TIED))
    header = json.dumps(
        {"model.embed_tokens.weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}
    ).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


def test_tied_embeddings_are_converted_with_the_variable_that_0_14_needs(workshop: Workshop) -> None:
    """It stands in the manifest and in the log; another build of the same model without it is another fingerprint."""
    give_tied_weights(workshop.model)
    done = workshop.build()
    assert done.returncode == 0, done.stderr
    step = workshop.manifest()["steps"]["convert"]
    assert step["environment"] == {"TRTLLM_DISABLE_UNIFIED_CONVERTER": "1"}
    assert "\nTRTLLM_DISABLE_UNIFIED_CONVERTER=1 python3 convert_checkpoint.py" in Path(step["log"]).read_text()
    assert workshop.build("--dry-run").stdout.count("TRTLLM_DISABLE_UNIFIED_CONVERTER=1 python3 convert") == 1


def test_what_the_converter_cannot_do_is_refused_before_the_first_step(workshop: Workshop) -> None:
    give_tied_weights(workshop.model)
    refusal = workshop.refused("--tp", "4", "--no-smoke-run")
    assert refusal == (
        "build.tp: there are fewer KV heads than GPUs, and the converter cannot repeat them; give a smaller build.tp, at "
        "most the KV heads (TensorRT-LLM 0.14)"
    )
    assert not workshop.state.exists()


def test_texts_for_calibration_that_cannot_be_had_are_named_first(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vocab.json", "merges.txt", "generation_config.json"):
        (workshop.model / name).write_text("{}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert workshop.refused("--kv-cache", "int8") == (
        "build.calib_dataset: this build is calibrated with texts of cnn_dailymail, and HF_HUB_OFFLINE forbids to fetch them; "
        "give a folder with a data set"
    )
    missing = tmp_path / "texts"
    assert workshop.refused("--kv-cache", "int8", "--calib-dataset", str(missing)).startswith(
        f"build.calib_dataset: {missing} is no folder"
    )
    missing.mkdir()
    assert workshop.build("--kv-cache", "int8", "--calib-dataset", str(missing)).returncode == 0
