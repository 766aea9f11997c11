"""Renders a page in headless Chromium through its command line, and returns the DOM."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.folders import ROOT

_LIMIT_S = 120
_INSTALL = ROOT / "scripts" / "install_browser.sh"
_INSTALL_S = 600


def chromium() -> str:
    """The browser's path; installs it if missing. The test fails if it cannot be installed."""
    if shutil.which("chromium") is None:
        done = subprocess.run([_INSTALL], capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        if done.returncode:
            pytest.fail(f"no Chromium: {done.stderr.strip()}")
    return str(shutil.which("chromium"))


def dump_dom(file: Path, width: int) -> tuple[str, str]:
    """The page's DOM after loading in a window `width` pixels wide, and the browser's log, console included."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                chromium(),
                *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"),
                f"--user-data-dir={profile}",
                f"--window-size={width},1200",
                file.resolve().as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
    return done.stdout, done.stderr
