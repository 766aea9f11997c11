#!/bin/sh
# Installs libb64 (Debian, Ubuntu: libb64-0d, 30 kB), which NVIDIA's perf_analyzer needs, for the tests of it and of GenAI-Perf.
# usage: install_perf_analyzer.sh      Does nothing when it is installed. Exit code 1 without root or apt-get: prints what to run.
set -eu
[ -n "$(find /lib /usr/lib -name 'libb64.so.0d*' 2>/dev/null | head -n 1)" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "the tests of perf_analyzer and GenAI-Perf need libb64: sudo apt-get install libb64-0d; then run the tests again" >&2
  exit 1
fi
echo "installing libb64-0d for the tests of perf_analyzer and GenAI-Perf (30 kB, once)"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libb64-0d >/dev/null
