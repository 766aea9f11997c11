"""Pages as a real browser shows them: headless Chromium, as its command line offers it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_LIMIT_S = 120


def chromium() -> str:
    """The browser's path; the test fails where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("no Chromium; install Debian's package chromium (scripts/install_browser.sh)")
    return found


def dump_dom(file: Path, width: int) -> tuple[str, str]:
    """The page's DOM after it has loaded in a window of that width, and what the browser logged (console included)."""
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
