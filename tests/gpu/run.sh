#!/usr/bin/env bash
# tests/gpu/run.sh [PYTHON [SITE [VENV]]]: checks the vLLM engine on this machine's GPU, on the demo checkpoint and on a
# small random Qwen3, on two GPUs where there are two, and the whole server. A line for each check; exit code 1 when one fails.
#
# PYTHON (default python3) is an interpreter that has vLLM, torch, transformers and msgpack; SITE is a folder for its path;
# VENV (default .venv) is the server's environment.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3} site=${2:-} venv=${3:-.venv}
export PYTHONPATH="${site:+$site:}$PWD/backend_src:$PWD" HF_HUB_OFFLINE=1 VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo
export VLLM_USE_FLASHINFER_SAMPLER="${VLLM_USE_FLASHINFER_SAMPLER:-0}" VLLM_USE_DEEP_GEMM="${VLLM_USE_DEEP_GEMM:-0}"
"$python" -c 'import vllm' || {
  echo "run.sh: $python cannot import vllm; give an interpreter that can, or the folder where vllm is" >&2
  exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export VLLM_CACHE_ROOT="$work/cache"
failed=0
check() { # NAME CHECKPOINT [OPTIONS]
  echo "== $1"
  "$python" -m tests.gpu.check_engine "$2" --options "${3:-{\}}" || failed=1
}
check "demo checkpoint" demo/checkpoint
if "$python" -m tests.gpu.random_qwen3 "$work/qwen3"; then
  check "random Qwen3" "$work/qwen3"
else
  failed=1
fi
if [ "$("$python" -c 'import torch; print(torch.cuda.device_count())')" -ge 2 ]; then
  check "demo checkpoint on two GPUs" demo/checkpoint '{"tensor_parallel_size": 2}'
else
  echo "== one GPU: tensor_parallel_size 2 is not checked"
fi
if [ -x "$venv/bin/python" ]; then
  echo "== the whole server"
  env -u PYTHONPATH "$venv/bin/python" -m tests.gpu.check_server demo/checkpoint --python "$python" ${site:+--site "$site"} \
    || failed=1
else
  echo "== no environment $venv: the whole server is not checked"
fi
exit "$failed"
