"""Why vLLM does not start: the cause stands in its processes' output, and the remedy is ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qwen_triton.engines.vllm.startup import STARTUP
from qwen_triton.errors import ConfigurationError

HIDDEN = "engine: vLLM does not start: Engine core initialization failed. See root cause above. Failed core proc(s): {'E': 1}"
NO_ROOM = (
    "To serve at least one request with the model's max seq len (32768), (6.00 GiB KV cache is needed, which is larger than "
    "the available KV cache memory (4.75 GiB). Based on the available memory, the estimated maximum model length is 25936."
)


def fail(*lines: str, message: str = HIDDEN) -> str:
    """The error of a start during which a process has printed these lines."""
    script = "import sys; sys.stderr.write(sys.stdin.read())"

    @STARTUP.explained()
    def start() -> None:
        subprocess.run([sys.executable, "-S", "-c", script], input="\n".join([*lines, ""]), text=True, check=True)
        raise ConfigurationError(message)

    with pytest.raises(ConfigurationError) as caught:
        start()
    return str(caught.value)


def test_the_cause_of_the_core_takes_the_place_of_what_its_client_says(capfd: pytest.CaptureFixture[str]) -> None:
    told = fail(
        "(EngineCore pid=7) ERROR 11-29 12:00:00 [core.py:1100] EngineCore failed to start.",
        "(EngineCore pid=7) ERROR 11-29 12:00:00 [core.py:1100] Traceback (most recent call last):",
        f"(EngineCore pid=7) ERROR 11-29 12:00:00 [core.py:1100] ValueError: {NO_ROOM}",
        "(EngineCore pid=7) RuntimeError: Engine core initialization failed.",
    )
    assert told == (
        f"engine: vLLM does not start: {NO_ROOM}; set engine.max_model_len to 25936 or less, engine.kv_cache_dtype: fp8, or "
        "a higher engine.tensor_parallel_size"
    )
    assert "EngineCore failed to start." in capfd.readouterr().err


def test_a_cause_with_a_remedy_is_taken_before_a_later_one_without() -> None:
    told = fail(
        "(Worker_TP0 pid=8) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "(EngineCore pid=7) RuntimeError: Worker failed with error, please check the stack trace above",
    )
    assert told.startswith(
        "engine: vLLM does not start: CUDA out of memory. Tried to allocate 2.00 GiB.; lower engine.gpu_mem"
    )


def test_a_cause_without_a_remedy_is_told_alone() -> None:
    told = fail("(EngineCore pid=7) KeyError: 'model.layers.0'")
    assert told == "engine: vLLM does not start: 'model.layers.0'"


def test_no_cause_at_all() -> None:
    assert fail() == f"{HIDDEN}; the lines above it in the log say why"


def test_what_the_client_itself_refuses_gets_its_remedy() -> None:
    message = (
        "engine: vLLM does not start: World size (4) is larger than the number of available GPUs (1) in this node."
    )
    assert fail(message=message) == (
        f"{message}; lower engine.tensor_parallel_size × pipeline_parallel_size, or give the server more GPUs"
    )
    assert fail(message="engine: vLLM does not start: no such thing") == "engine: vLLM does not start: no such thing"


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (
            "Free memory on device cuda:0 (9.1/139.8 GiB) on startup is less than desired GPU memory utilization (0.92, "
            "128.6 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
            "end what else uses the GPU (nvidia-smi shows it), or lower engine.gpu_memory_utilization",
        ),
        (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
            "raise engine.gpu_memory_utilization, quantize the model, or share it among more GPUs "
            "(engine.tensor_parallel_size)",
        ),
        ("Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", "set engine.dtype: half"),
        ("No module named 'msgpack'", "install msgpack into the interpreter that engine.python names"),
        ("something else", ""),
    ],
)
def test_remedies(cause: str, remedy: str) -> None:
    assert STARTUP.find_remedy(cause) == remedy


def test_lines_that_are_no_errors_are_no_cause() -> None:
    assert (
        STARTUP.find_cause(["INFO 11-29 12:00:00 [core.py:1] Error: is a word here", "ValueError", ""])
        == "is a word here"
    )
    assert STARTUP.find_cause(["(EngineCore pid=7) INFO 11-29 12:00:00 [core.py:1] ready"]) == ""


def test_a_start_that_succeeds_leaves_the_output_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    with STARTUP.explained():
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", "input(); print('later')"], stdin=subprocess.PIPE, text=True
        )
    print("ours")
    child.communicate("\n")
    child.wait()
    for _ in range(100):
        out = capfd.readouterr()
        if "later" in out.err:
            break
        subprocess.run(["sleep", "0.02"], check=True)
    assert "later" in out.err
