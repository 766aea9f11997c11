#!/usr/bin/env bash
# `make test-image`: builds both targets, runs them as an operator would, prints their sizes. usage: run.sh PYTHON
#
# Where the base images are in podman's storage (or BASE_IMAGES=pull lets podman fetch them) they are used; elsewhere
# stand-ins are made in IMAGE_FOLDER (root, Debian). Where neither can be had it says so and ends with 0; with
# IMAGE_TESTS=required it ends with 3.
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
