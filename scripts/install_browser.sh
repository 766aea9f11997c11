#!/bin/sh
# Installs Chromium, its driver and a Chinese font (Debian, Ubuntu; some 300 MB) for the tests that look at pages.
# Does nothing where both are there already. Exit code 3 where it cannot install: no root, or no apt-get.
set -eu
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "install_browser.sh: needs root and apt-get; install chromium by hand" >&2; exit 3; }
echo "installing chromium"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-noto-cjk >/dev/null
