#!/bin/sh
# Prints TEXT, runs COMMAND and prints the seconds it took, in the format of `qwen-triton serve`. usage: phase.sh TEXT COMMAND…
set -eu
text=$1
shift
printf '%-44s' "$text" >&2
started=$(date +%s)
"$@" || { code=$?; echo " failed" >&2; exit "$code"; }
printf '%6d.0 s\n' $(($(date +%s) - started)) >&2
