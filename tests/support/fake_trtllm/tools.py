"""The four tools: convert_checkpoint.py, quantize.py, trtllm-build, run.py. What they refuse, the real ones refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.contract_parser import parse
from tests.support.contract_rules import algorithm_of, conversion_faults, violations
from tests.support.engine_folders import EXAMPLES, PLAIN
from tests.support.fake_trtllm.converter_facts import ShownCheckpoint, failure_of

STEP = {"convert_checkpoint": "convert", "quantize": "convert", "trtllm-build": "build", "run": "run"}
_LINES = {"0.14": "0.14.0", "0.21": "0.21.0", "1.0": "1.0.0", "1.1": "1.2", "1.2": "1.2"}


def main(tool: str) -> None:
    """Runs a tool on the command line's words, as its script does; exits as it exits."""
    line = _LINES[".".join(version("tensorrt_llm").split(".")[:2])]
    words = sys.argv[1:]
    try:
        understood = parse(tool, line, words)
    except ValueError as error:
        sys.exit(f"usage: {tool}\n{tool}: error: {error}")
    print(f"[TensorRT-LLM] TensorRT-LLM version: {version('tensorrt_llm')}", flush=True)
    {"trtllm-build": _build, "run": _run}.get(tool, _convert)(understood, line)


def _fault(step: str) -> str | None:
    return dict(json.loads(os.environ.get("FAKE_TRTLLM", "{}"))).get(step)


def _convert(sent: Namespace, line: str) -> None:
    faults = conversion_faults(sent)
    if faults:
        raise ValueError(faults)
    model = json.loads((Path(sent.model_dir) / "config.json").read_text())
    if "qformat" not in vars(sent) and (
        failure := failure_of(line, ShownCheckpoint.read(Path(sent.model_dir)), sent, os.environ)
    ):
        sys.exit(f"Traceback (most recent call last):\n{failure}")
    config = json.loads((EXAMPLES / f"checkpoint_config.{PLAIN}.json").read_text())
    algorithm, kv = algorithm_of(line, sent)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    config |= {name: model[name] for name in names}
    config["dtype"] = "float16" if sent.dtype == "auto" else sent.dtype
    config["quantization"] |= {"quant_algo": algorithm, "kv_cache_quant_algo": kv}
    size = sent.tp_size * sent.pp_size
    config["mapping"] |= {"world_size": size, "tp_size": sent.tp_size, "pp_size": sent.pp_size}
    _write(Path(sent.output_dir), config, [f"rank{r}.safetensors" for r in range(size)], "convert")


def _build(sent: Namespace, line: str) -> None:
    checkpoint = Path(sent.checkpoint_dir)
    model = json.loads((checkpoint / "config.json").read_text())
    quantization = model["quantization"]
    faults = violations(line, sent, quantization["quant_algo"], quantization["kv_cache_quant_algo"])
    if faults:
        raise RuntimeError(faults)
    if not subprocess.run(["nvidia-smi"], capture_output=True, check=True).stdout:
        raise RuntimeError("No CUDA GPUs are available")
    size = model["mapping"]["world_size"]
    assert all((checkpoint / f"rank{r}.safetensors").is_file() for r in range(size))
    config = json.loads((EXAMPLES / f"engine_config.{PLAIN}.json").read_text())
    config |= {"version": version("tensorrt_llm"), "pretrained_config": model}
    config["build_config"] |= {"max_batch_size": sent.max_batch_size, "max_beam_width": sent.max_beam_width}
    config["build_config"]["max_seq_len"] = sent.max_seq_len or model["max_position_embeddings"]
    config["build_config"]["plugin_config"]["use_paged_context_fmha"] = sent.use_paged_context_fmha == "enable"
    Path("model.cache").write_bytes(b"timings")
    _write(Path(sent.output_dir), config, [f"rank{r}.engine" for r in range(size)], "build")


def _run(sent: Namespace, line: str) -> None:  # noqa: ARG001  the tools' common signature
    rank, size = (int(os.environ.get(f"OMPI_COMM_WORLD_{name}", n)) for name, n in (("RANK", 0), ("SIZE", 1)))
    config = json.loads((Path(sent.engine_dir) / "config.json").read_text())
    if config["pretrained_config"]["mapping"]["world_size"] != size:
        raise RuntimeError("MPI size must equal tp*pp")
    assert (Path(sent.engine_dir) / f"rank{rank}.engine").is_file()
    assert (Path(sent.tokenizer_dir) / "tokenizer.json").is_file()
    _misbehave(_fault("run"), Path(sent.engine_dir))
    if rank == 0:
        print(f'Input [Text 0]: "{sent.input_text[0]}"\nOutput [Text 0 Beam 0]: "我叫通义千问。"')


def _write(folder: Path, config: dict[str, Any], names: list[str], step: str) -> None:
    """config.json and a file for each rank, one after another; a fault strikes after the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for n, name in enumerate(names):
        if n == len(names) - 1 and _fault(step) == "forget":
            continue
        (folder / name).write_bytes(b"x" * 4096)
        print(f"[{step}] wrote {name}", flush=True)
        _misbehave(_fault(step), folder)


def _misbehave(fault: str | None, folder: Path) -> None:
    if fault == "fail":  # in one write: several ranks share a log
        os.write(2, b"Traceback (most recent call last):\nRuntimeError: CUDA out of memory\n")
        sys.exit(1)
    if fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault in ("hang", "stubborn"):
        (folder / "hanging").touch()
        time.sleep(600)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "disk":
        with (folder / "weights").open("wb") as file:
            while shutil.disk_usage(folder).free or file.write(b"x"):
                file.write(b"x" * (1 << 20))


if __name__ == "__main__":
    main(sys.argv.pop(1))
