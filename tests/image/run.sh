#!/usr/bin/env bash
# `make test-image`: builds both targets, runs them as an operator does, prints their sizes. usage: run.sh PYTHON
#
# Uses the base images if podman has them (or may pull them: BASE_IMAGES=pull); otherwise builds stand-ins in IMAGE_FOLDER
# (root, Debian). If neither is possible it prints why and exits with 0, or with 3 under IMAGE_TESTS=required.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
base=nvcr.io/nvidia/tritonserver:24.10-trtllm-python-py3
if [ "${BASE_IMAGES:-}" != pull ] && ! { command -v podman >/dev/null && podman image exists $base; }; then
  # shellcheck source=tests/image/standin_images.sh
  source tests/image/standin_images.sh "${IMAGE_FOLDER:-/var/tmp/qwen-triton-images}" && runs_containers
  made=$?
  if [ $made -ne 0 ]; then
    echo "image tests: NOT RUN (the line above says why)" >&2
    [ "${IMAGE_TESTS:-}" = required ] && exit 3
    exit 0
  fi
fi
exec "$python" tests/image/check_images.py
