#!/bin/sh
# Creates the virtual environment VENV with PYTHON unless it exists. usage: make_venv.sh PYTHON VENV
# Its pip is a new one: the one that comes with Python 3.11 takes three times as long to choose among a hundred packages.
set -eu
python=$1 venv=$2

# pyenv's shims (python3.11 …) fail for versions that are installed but not selected, so the newest installed one is called
# by its own path.
if ! "$python" --version >/dev/null 2>&1 && command -v pyenv >/dev/null; then
  for held in "$(pyenv root)/versions/${python#python}".*"/bin/$python"; do
    [ -x "$held" ] && python=$held
  done
fi

if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
  found=$("$python" --version 2>&1 | head -n 1) || true
  echo "qwen-triton needs Python 3.10, 3.11 or 3.12; '$python' is: $found" >&2
  echo "remedy: make ... PYTHON=/path/to/python3.11" >&2
  exit 2
fi
[ -x "$venv/bin/python" ] && exit
"$python" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check -qq install --upgrade 'pip>=26,<27' ||
  echo "going on with the pip that is there: $("$venv/bin/python" -m pip --version)" >&2
