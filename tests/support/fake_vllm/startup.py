"""What the processes of vLLM 0.26 print while they load a model, on the same descriptors, from a process of their own.

`attention_backend` asks for more: SLOW takes some time between the steps, NO_MEMORY fails as a core does.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_CORE, _PREFIX = "(EngineCore pid=7) ", "(EngineCore pid=7) INFO 11-29 12:00:00 "
STEPS = (
    f"{_PREFIX}[core.py:101] Initializing a V1 LLM engine (v0.26.0) with config: model='qwen'\n",
    f"{_PREFIX}[gpu_model_runner.py:4001] Starting to load model qwen...\n",
    "\rLoading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.00s/it]\n",
    "\rLoading safetensors checkpoint shards: 100% Completed | 2/2 [00:02<00:00,  1.00s/it]\n",
    f"{_PREFIX}[gpu_model_runner.py:4020] Model loading took 27.53 GiB memory and 12.300000 seconds\n",
    f"{_PREFIX}[backends.py:500] Dynamo bytecode transform time: 5.10 s\n",
    f"{_PREFIX}[gpu_worker.py:300] Available KV cache memory: 95.10 GiB\n",
    f"{_PREFIX}[kv_cache_utils.py:1000] GPU KV cache size: 519,264 tokens\n",
    "\rCapturing CUDA graphs (decode, FULL):  36%|███▋      | 4/11 [00:00<00:01,  5.1it/s]",
    "\rCapturing CUDA graphs (decode, FULL): 100%|██████████| 11/11 [00:02<00:00,  5.1it/s]\n",
    f"{_PREFIX}[core.py:210] init engine (profile, create kv cache, warmup model) took 20.10 s\n",
)
_FAILURE = (
    f"{_CORE}Traceback (most recent call last):\n",
    f'{_CORE}  File "vllm/v1/core/kv_cache_utils.py", line 778, in _check_enough_kv_cache_memory\n',
    f"{_CORE}ValueError: To serve at least one request with the model's max seq len (32768), (6.00 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (4.75 GiB). Based on the available memory, the estimated maximum "
    "model length is 25936. Try increasing `gpu_memory_utilization`\n",
)
_PRINT = "import sys, time\nfor step in eval(sys.stdin.read()):\n sys.stderr.write(step)\n sys.stderr.flush()\n time.sleep({})"


def print_start(arguments: dict[str, Any]) -> None:
    """Raises RuntimeError as vLLM's client does where the core has failed."""
    way = arguments.get("attention_backend")
    steps = _FAILURE if way == "NO_MEMORY" else STEPS
    script = _PRINT.format(0.3 if way == "SLOW" else 0)
    subprocess.run([sys.executable, "-S", "-c", script], input=repr(steps), text=True, check=True)
    if way == "NO_MEMORY":
        raise RuntimeError(
            "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
        )
