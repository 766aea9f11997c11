"""An environment of its own for a tool of others that a live test runs, made once in `.cache/`.

Such a tool brings up to 140 packages, some of which ours may not share.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from tests.support.folders import ROOT

INSTALL_S = 900.0


def tool_environment(name: str, *packages: str) -> Path:
    """The folder of an environment with these packages; installed where it is not yet. Fails with pip's words."""
    home = ROOT / ".cache" / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    done = home / "installed"
    if not done.exists():
        venv.create(home, clear=True)
        python = str(home / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "-q"]
        made = subprocess.run(
            [*pip, "install", "--no-compile", *packages], capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        assert made.returncode == 0, made.stderr[-4000:]
        done.touch()
    return home
