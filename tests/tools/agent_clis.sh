#!/usr/bin/env bash
# Coding agents of others against the shim, each through one round of a tool: see tests/tools/agent_clis.py.
# usage: tests/tools/agent_clis.sh [AGENT…]    (default: all)    Needs Node.js 20 or newer, npm, and .venv of `make test`.
# The agents are installed into .cache/, once. Exit code: 0 all did it, 1 one did not, 2 they cannot be run here.
set -euo pipefail
cd "$(dirname "$0")/../.."
for program in node npm; do
  command -v "$program" >/dev/null || {
    echo "agent_clis: $program is missing: install Node.js 20 or newer with npm, such as by apt-get install nodejs npm" >&2
    exit 2
  }
done
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || {
  echo "agent_clis: Node.js $(node --version) is too old: 20 or newer is needed" >&2
  exit 2
}
[ -x .venv/bin/python ] || {
  echo "agent_clis: .venv is missing: run make test first, such as PYTEST_ARGS=--collect-only" >&2
  exit 2
}
exec .venv/bin/python -m tests.tools.agent_clis "$@"
