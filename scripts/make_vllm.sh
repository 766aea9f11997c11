#!/usr/bin/env bash
# scripts/make_vllm.sh PYTHON FOLDER: a virtual environment with vLLM, for the process of a `kind: vllm` engine.
# Of this project it needs msgpack alone: the package qwen_triton reaches it by PYTHONPATH.
set -euo pipefail
python=$1 folder=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "vLLM needs Python 3.11 or newer: make vllm PYTHON=python3.12" >&2
  exit 1
}
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/pip" install --disable-pip-version-check 'vllm>=0.33,<0.34' 'msgpack>=1.0,<2'
