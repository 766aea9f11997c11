#!/bin/sh
# Installs Chromium and its driver from Debian's or Ubuntu's packages, for the tests of the chat page and the report.
# usage: install_browser.sh      Does nothing when both are installed. Exit code 1 without root or apt-get: prints what to run.
set -eu
command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome || command -v chromium-browser; } >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "the tests of the chat page and the report need a browser: sudo apt-get install chromium chromium-driver" >&2
  echo "or Chrome and the chromedriver of the same version in PATH; then run the tests again" >&2
  exit 1
fi
echo "installing chromium and chromium-driver for the tests of the chat page and the report (about 100 MB, once)"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null
