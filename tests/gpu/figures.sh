#!/usr/bin/env bash
# tests/gpu/figures.sh [--venv FOLDER] [FLAG…]: one table of the vLLM engine's figures on this machine's GPU: the engine
# alone, vLLM's own server, and ours, one after another. --help lists the flags; a quick run:
#
#   tests/gpu/figures.sh --quick --within 480
#
# FOLDER (default .venv) is the server's environment. vLLM is taken from --python, with --site on its path. No network.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=.venv
if [ "${1:-}" = --venv ]; then
  venv=${2:?--venv needs a folder}
  shift 2
fi
if [ ! -x "$venv/bin/python" ]; then
  echo "figures.sh: no interpreter in $venv; give --venv FOLDER first, an environment that has qwen-triton and tritonserver" >&2
  exit 2
fi
unset PYTHONPATH # what vLLM needs is on --site; the server's environment must not import it
exec "$venv/bin/python" -m tests.gpu.figures.main "$@"
