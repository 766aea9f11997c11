#!/bin/sh
# Creates a virtual environment for an image: qwen-triton with the given extras, without what only an installation needs.
# usage: make_image_environment.sh ENVIRONMENT SOURCE EXTRAS [server]      server: also install tritonserver from PyPI
set -eu
environment=$1 source=$2 extras=$3 server=${4:-}
python3 -m venv "$environment" 2>/dev/null || {
  # Debian's and Ubuntu's python3 has no ensurepip. virtualenv goes to a separate folder, so that no system package changes.
  rm -rf "$environment"
  python3 -m pip install -q --no-cache-dir --target /tmp/virtualenv virtualenv
  PYTHONPATH=/tmp/virtualenv python3 -m virtualenv -q "$environment"
  rm -rf /tmp/virtualenv
}
pip() { "$environment/bin/python" -m pip "$@"; }
[ -z "$server" ] || pip install -q --no-cache-dir --no-deps -r "$source/requirements/server.txt"
pip install -q --no-cache-dir "${source}[${extras}]"

packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
# Removes OpenVINO's plugins for devices and file formats that are not used here, and a second libpython that nothing links to.
find "$packages" \( -path '*/openvino/libs/libopenvino_intel_[gn]pu_plugin.so' -o -path '*/openvino/libs/cache.json' \
  -o -path '*/openvino/libs/libopenvino_*_frontend.so*' ! -name '*_ir_frontend*' \
  -o -path '*/nvidia_pytriton.libs/libpython3-*' \) -delete
find "$packages" -type d -name tests -path '*numpy*' -prune -exec rm -rf {} +
# hf-xet only speeds up downloads of weights.
pip uninstall -q -y hf-xet setuptools pip 2>/dev/null || true
find "$environment" -type d -name __pycache__ -prune -exec rm -rf {} +
