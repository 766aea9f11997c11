"""The doctor's checks of an llmapi engine: what makes each fail, in its words, with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.doctor.all_checks import checks_for
from qwen_triton_build.doctor.check import Finding, run_checks
from qwen_triton_build.doctor.gpu.llmapi_checks import CHECKS
from qwen_triton_build.doctor.site import Site
from qwen_triton_build.trtllm.gpus import Gpu
from tests.support import gpu_sites
from tests.support.fake_llmapi import write_fake_llmapi
from tests.support.gpu_library import write_interpreter
from tests.support.gpu_sites import GPTQ, H200, site_of, write_config

A10 = Gpu("NVIDIA A10", 23_028, 8.6, "580.95.05", 23_000)


class Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def site(
        self, gpus: list[Gpu], config: dict[str, Any] | None = None, version: str = "1.2.1", **engine: Any
    ) -> Site:
        """A deployment of a folder without weights."""
        home = self.folder / version
        if not home.exists():
            write_interpreter(home, write_fake_llmapi(home / "library", version))
        given = {"kind": "llmapi", "python": str(home / "python"), "load_format": "dummy", **engine}
        return site_of(write_config(self.folder / "model", config), gpus, **given)


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def look(site: Site) -> dict[str, Finding]:
    return gpu_sites.look(CHECKS, site)


def messages(site: Site) -> dict[str, str]:
    return gpu_sites.messages(CHECKS, site)


def test_a_sound_deployment(make: Maker) -> None:
    site = make.site([H200], kv_cache_config={"free_gpu_memory_fraction": 0.9})
    assert {name: finding.found for name, finding in look(site).items()} == {
        "engine interpreter": str(make.folder / "1.2.1" / "python"),
        "TensorRT-LLM": "tensorrt_llm 1.2.1",
        "TensorRT-LLM arguments": "2 of 69 are set",
        "GPU driver": "driver 580.95.05, CUDA 13",
        "GPU count": "1 × NVIDIA H200",
        "GPU memory": "27.5 GiB of weights a GPU, room for some 554884 tokens",
    }


def test_they_are_checks_of_this_engine_alone(make: Maker) -> None:
    assert set(CHECKS) <= set(checks_for(make.site([H200])))
    other = Site(Deployment.model_validate({"model": "/nowhere", "engine": {"kind": "vllm"}}))
    assert not set(CHECKS) & set(checks_for(other))


def test_an_interpreter_without_tensorrt_llm(make: Maker) -> None:
    (make.folder / "empty").mkdir()
    empty = write_interpreter(make.folder / "empty", make.folder)
    assert messages(make.site([H200], python=str(empty)))["TensorRT-LLM"].endswith(
        "No package metadata was found for tensorrt_llm; install tensorrt_llm and msgpack there, or name another as "
        "engine.python"
    )
    nowhere = messages(make.site([H200], python=None))["engine interpreter"]
    assert nowhere == "engine: tensorrt_llm is in no interpreter here; name one that has it as engine.python"


def test_a_release_that_is_not_supported_and_a_sampler_that_is_gone(make: Maker) -> None:
    assert messages(make.site([H200], version="1.3.0rc13"))["TensorRT-LLM"].startswith(
        "engine: tensorrt_llm 1.3.0rc13 is not supported: its sampler passes over seeds and penalties"
    )
    assert messages(make.site([H200], version="1.4.0rc4", sampler_type="TRTLLMSampler"))["TensorRT-LLM"].startswith(
        "engine.sampler_type: TRTLLMSampler is in TensorRT-LLM 1.2 alone"
    )


def test_arguments_that_this_release_does_not_have(make: Maker) -> None:
    extra = {"max_input_len": 1, "enable_attention_dpp": True}
    site = make.site([H200], version="1.4.0rc4", extra=extra)
    (check,) = [check for check in CHECKS if check.thorough]
    assert [f.message for f in run_checks([check], site)] == [
        "engine.extra.enable_attention_dpp: this tensorrt_llm has no such argument; did you mean enable_attention_dp?",
        "engine.extra.max_input_len: this tensorrt_llm has no such argument; did you mean max_seq_len?",
    ]


def test_gpus_that_are_too_few_or_too_old(make: Maker) -> None:
    assert messages(make.site([H200], tensor_parallel_size=2))["GPU count"].startswith(
        "1 GPUs, and tensor_parallel_size × pipeline_parallel_size is 2"
    )
    assert messages(make.site([Gpu("Tesla T4", 15_360, 7.5, "580.1")]))["GPU count"] == (
        "Tesla T4 has compute capability 7.5, and TensorRT-LLM's kernels begin at 8.0; take an Ampere (A100, A10) or newer"
    )


def test_weights_and_sequences_that_do_not_fit(make: Maker) -> None:
    assert messages(make.site([A10]))["GPU memory"] == (
        "27.5 GiB of weights a GPU, which has 22.5 GiB; take a quantized checkpoint, or share the model among more GPUs "
        "(engine.tensor_parallel_size)"
    )
    tight = {"free_gpu_memory_fraction": 0.4}
    assert messages(make.site([A10], GPTQ, kv_cache_config=tight))["GPU memory"] == (
        "5.4 GiB of a GPU are left for keys and values: 29350 tokens, and a sequence may have 32768; set engine.max_seq_len "
        "below 29350, kv_cache_config: {dtype: fp8}, or a higher tensor_parallel_size"
    )
    assert "GPU memory" not in messages(make.site([A10], GPTQ, kv_cache_config={**tight, "dtype": "fp8"}))
    assert "GPU memory" not in messages(make.site([A10], GPTQ, kv_cache_config=tight, max_seq_len=8192))
