"""The doctor's checks of a vLLM engine: what makes each fail, in its words, with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.doctor.all_checks import checks_for
from qwen_triton_build.doctor.check import Finding, run_checks
from qwen_triton_build.doctor.gpu.vllm_checks import CHECKS
from qwen_triton_build.doctor.site import Site
from qwen_triton_build.trtllm.gpus import Gpu, visible_gpus
from tests.support import gpu_sites
from tests.support.checkpoints import write_checkpoint
from tests.support.fake_vllm import write_fake_vllm
from tests.support.gpu_library import write_interpreter
from tests.support.gpu_sites import GPTQ, H200, site_of, write_config

T4 = Gpu("Tesla T4", 15_360, 7.5, "580.95.05", 15_000)
EXPERTS = {"num_experts": 128, "moe_intermediate_size": 768, "hidden_size": 2048, "head_dim": 128}


class Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = self.interpreter("0.26.0")

    def interpreter(self, version: str) -> Path:
        folder = self.folder / version
        return write_interpreter(folder, write_fake_vllm(folder / "library", version))

    def site(self, gpus: list[Gpu], config: dict[str, Any] | None = None, **engine: Any) -> Site:
        """A deployment of a folder without weights."""
        return self.of(write_config(self.folder / "model", config), gpus, load_format="dummy", **engine)

    def of(self, model: Path, gpus: list[Gpu], **engine: Any) -> Site:
        return site_of(model, gpus, **{"kind": "vllm", "python": str(self.python), **engine})


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def look(site: Site) -> dict[str, Finding]:
    return gpu_sites.look(CHECKS, site)


def messages(site: Site) -> dict[str, str]:
    return gpu_sites.messages(CHECKS, site)


def test_a_sound_deployment(make: Maker) -> None:
    found = look(make.site([H200]))
    assert {name: finding.found for name, finding in found.items()} == {
        "engine interpreter": str(make.python),
        "vLLM": "vllm 0.26.0",
        "vLLM arguments": "1 of 221 are set",
        "GPU driver": "driver 580.95.05, CUDA 13",
        "GPU count": "1 × NVIDIA H200",
        "GPU memory": "27.5 GiB of weights a GPU, 129.2 GiB may be used",
        "KV memory": "room for some 555196 tokens, 16 sequences of 32768",
    }


def test_they_are_checks_of_this_engine_alone(make: Maker) -> None:
    assert set(CHECKS) <= set(checks_for(make.site([H200])))
    other = Site(Deployment.model_validate({"model": "/nowhere", "engine": {"kind": "replay"}}))
    assert not set(CHECKS) & set(checks_for(other))


def test_no_interpreter(make: Maker) -> None:
    found = look(make.site([H200], python="/nowhere/python"))
    assert found["engine interpreter"].message == (
        "engine.python: /nowhere/python is no program here; give the path of an interpreter"
    )
    assert {f.outcome for name, f in found.items() if name != "engine interpreter"} == {"skipped"}


def test_an_interpreter_without_vllm(make: Maker) -> None:
    (make.folder / "empty").mkdir()
    empty = write_interpreter(make.folder / "empty", make.folder)
    message = messages(make.site([H200], python=str(empty)))["vLLM"]
    assert message.startswith(f"{empty} cannot serve vLLM: ")
    assert message.endswith(
        "No package metadata was found for vllm; install vllm and msgpack there, or name another as engine.python"
    )


def test_a_release_that_is_not_supported(make: Maker) -> None:
    site = make.site([H200], python=str(make.interpreter("0.25.1")))
    assert messages(site)["vLLM"] == "engine: vllm 0.25.1 is not supported; install 0.26 to 0.33"


def test_arguments_that_this_vllm_does_not_have(make: Maker) -> None:
    """Some that both releases had are gone in one of them."""
    extra = {"max_num_batched_token": 1, "enable_bf16x3_router_gemm": True}
    assert messages(make.site([H200], extra=extra))["vLLM arguments"] == (
        "engine.extra.max_num_batched_token: this vllm has no such argument; did you mean max_num_batched_tokens?"
    )
    site = make.site([H200], python=str(make.interpreter("0.33.0")), extra=extra)
    (check,) = [check for check in CHECKS if check.name == "vLLM arguments"]
    assert check.thorough
    assert [f.message for f in run_checks([check], site)] == [
        "engine.extra.enable_bf16x3_router_gemm: this vllm has no such argument; leave it out",
        "engine.extra.max_num_batched_token: this vllm has no such argument; did you mean max_num_batched_tokens?",
    ]


def test_a_build_for_no_gpu_asks_for_none(make: Maker) -> None:
    site = make.site([], python=str(make.interpreter("0.26.0+cpu")))
    assert messages(site) == {}
    assert look(site)["GPU driver"].found == "not asked for by vllm 0.26.0+cpu"


@pytest.mark.parametrize(
    ("gpus", "version", "message"),
    [
        ([], "0.33.0", "no GPU is visible; install NVIDIA's driver, in a container give --gpus all"),
        (
            [Gpu("NVIDIA H200", 143_771, 9.0, "570.133.20")],
            "0.33.0",
            "driver 570.133.20 is older than CUDA 13 needs; install 580 or newer, or CUDA's package for compatibility",
        ),
        ([Gpu("NVIDIA H200", 143_771, 9.0, "570.133.20")], "0.26.0+cu129", ""),
    ],
)
def test_the_driver(make: Maker, gpus: list[Gpu], version: str, message: str) -> None:
    site = make.site(gpus, python=str(make.interpreter(version)))
    assert messages(site).get("GPU driver", "") == message


def test_too_few_gpus_and_one_that_is_too_old(make: Maker) -> None:
    site = make.site([H200], tensor_parallel_size=2, pipeline_parallel_size=2)
    assert messages(site)["GPU count"] == (
        "1 GPUs, and tensor_parallel_size × pipeline_parallel_size is 4; give it more, or lower them"
    )
    assert messages(make.site([Gpu("Tesla P100", 16_384, 6.0, "580.1", 16_000)]))["GPU count"] == (
        "Tesla P100 has compute capability 6.0, and vLLM's kernels begin at 7.5; take a Turing (T4) or newer"
    )
    nodes = make.site([H200, H200], tensor_parallel_size=2, pipeline_parallel_size=2, extra={"nnodes": 2})
    assert look(nodes)["GPU count"].found == "2 × NVIDIA H200"


def test_weights_that_do_not_fit_and_what_makes_them_fit(make: Maker) -> None:
    assert messages(make.site([T4]))["GPU memory"] == (
        "27.5 GiB of weights a GPU, and gpu_memory_utilization 0.92 of 15.0 GiB is 13.8 GiB; quantize "
        "(engine.quantization: fp8, or an AWQ or GPTQ checkpoint), or share the model among more GPUs "
        "(engine.tensor_parallel_size)"
    )
    assert look(make.site([T4, T4, T4, T4], tensor_parallel_size=4))["GPU memory"].outcome == "ok"
    assert look(make.site([T4], GPTQ))["GPU memory"].found == "9.1 GiB of weights a GPU, 13.8 GiB may be used"
    assert look(make.site([H200], quantization="fp8"))["GPU memory"].found.startswith("15.2 GiB")
    assert look(make.site([H200], dtype="float32"))["GPU memory"].found.startswith("55.0 GiB")


def test_experts_are_counted(make: Maker) -> None:
    """Qwen3-30B-A3B's shape: 30.5 billion parameters."""
    config = {**EXPERTS, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936}
    assert look(make.site([H200], config))["GPU memory"].found.startswith("56.8 GiB")


def test_a_gpu_that_others_use(make: Maker) -> None:
    site = make.site([Gpu("NVIDIA H200", 143_771, 9.0, "580.95.05", 100_000)])
    assert messages(site)["GPU memory"] == (
        "97.7 GiB of NVIDIA H200 are free, and gpu_memory_utilization 0.92 asks for 129.2 GiB; end what uses the GPU, or "
        "set engine.gpu_memory_utilization to 0.69"
    )


def test_a_context_that_does_not_fit(make: Maker) -> None:
    site = make.site([T4], GPTQ, max_model_len=32768)
    assert messages(site)["KV memory"] == (
        "4.7 GiB of a GPU are left for keys and values: 25926 tokens, and a sequence may have 32768; set "
        "engine.max_model_len below 25926, kv_cache_dtype: fp8, or a higher tensor_parallel_size"
    )
    assert "KV memory" not in messages(make.site([T4], GPTQ, max_model_len=8192))
    assert "KV memory" not in messages(make.site([T4], GPTQ, max_model_len=32768, kv_cache_dtype="fp8"))
    assert messages(make.site([T4], GPTQ, max_model_len=20000, max_num_seqs=64))["KV memory"].startswith(
        "room for some 25926 tokens, less than two sequences of 20000; others wait"
    )


def test_a_context_beyond_the_checkpoint_s(make: Maker) -> None:
    assert messages(make.site([H200], max_model_len=40_000))["KV memory"] == (
        "engine.max_model_len: 40000, and config.json gives the model 32768; lower it, or scale its positions by "
        "extra: {hf_overrides: {rope_parameters: …}}"
    )
    scaled = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
    assert "KV memory" not in messages(make.site([H200], scaled, max_model_len=40_000))


def test_layers_without_a_cache_take_none(make: Maker) -> None:
    """As in Qwen3-Next, where every fourth layer attends to all tokens."""
    kinds = {"layer_types": [*["linear_attention"] * 3, "full_attention"] * 12}
    assert look(make.site([H200], kinds))["KV memory"].found.startswith("room for some 2220785 tokens")


def test_weights_are_those_of_the_files(make: Maker, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "small", "qwen2-untied-f32")
    stored = (folder / "model.safetensors").stat().st_size
    tight = Gpu("small", 1, 9.0, "580.1")
    assert "GPU memory" not in messages(make.of(folder, [tight], dtype="float32", gpu_memory_utilization=1.0))
    assert stored > 0.3 * (1 << 20)
    assert (
        "of weights a GPU"
        in messages(make.of(folder, [tight], dtype="float32", gpu_memory_utilization=0.3))["GPU memory"]
    )
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    assert "cut short; fetch it again" in messages(make.of(folder, [H200]))["GPU memory"]


def test_a_model_that_is_fetched_at_the_start_is_not_measured(make: Maker) -> None:
    found = look(make.of(Path("Qwen/Qwen2.5-0.5B-Instruct"), [H200]))
    assert found["GPU memory"].found == found["KV memory"].found == "not known before vLLM loads it"


def test_free_memory_is_nvidia_smi_s(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 9.0, 580.95.05, 143000'\n")
    program.chmod(0o755)
    assert visible_gpus({"PATH": f"{tmp_path}:/usr/bin:/bin"}) == [H200]
    program.write_text("#!/bin/sh\necho 'NVIDIA GB10, [N/A], 12.1, 580.95.05, [N/A]'\n")
    assert visible_gpus({"PATH": f"{tmp_path}:/usr/bin:/bin"}) == [Gpu("NVIDIA GB10", 0, 12.1, "580.95.05")]


def test_memory_that_is_not_known_is_not_compared(make: Maker) -> None:
    found = look(make.site([Gpu("NVIDIA GB10", 0, 12.1, "580.95.05")]))
    assert found["GPU memory"].found == found["KV memory"].found == "nvidia-smi does not say"
