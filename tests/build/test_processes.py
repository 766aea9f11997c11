"""A child process ends when asked, when it must, and when we do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from qwen_triton_build.processes import ChildProcess

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
HANG_S = 20


def wait_for(condition: object, text: str = "") -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


def python(code: str) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", code], os.environ)


def test_before_the_start_there_is_nothing_to_end() -> None:
    child = python("pass")
    assert (child.pid, child.poll(), child.stop(1)) == (0, None, 0)


def test_its_exit_code_is_kept_and_it_can_be_started_again() -> None:
    child = python("raise SystemExit(7)")
    for _ in range(2):
        child.start()
        assert child.wait(HANG_S) == 7
        assert child.poll() == 7


def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = python(STUBBORN)
    with (tmp_path / "log").open("wb") as log:
        child.start(log.fileno())
    wait_for(lambda: (tmp_path / "log").read_text() == "up\n", "the child did not start")
    assert child.stop(0.2) == -signal.SIGKILL


def test_it_ends_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    """A supervisor that is killed leaves no orphans."""
    source = f"""
import os, sys, time
from qwen_triton_build.processes import ChildProcess
child = ChildProcess([sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
child.start()
open({str(tmp_path / "pid")!r}, "w").write(f"{{child.pid}} ")
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", source])
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith(" "), "no child")
        pid = int((tmp_path / "pid").read_text())
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_what_it_makes_is_its_user_s_alone(tmp_path: Path) -> None:
    """Also where it says otherwise by fchmod, as the library does that makes Triton's shared-memory regions; its own
    children's files too. An fchmod that opens nothing to others works."""
    source = f"""
import os, subprocess, sys
os.chdir({str(tmp_path)!r})
open("plain", "w").close()
os.fchmod(os.open("opened", os.O_CREAT | os.O_WRONLY, 0o644), 0o644)
os.fchmod(os.open("closed", os.O_CREAT | os.O_WRONLY, 0o644), 0o400)
os.mkdir("folder")
code = "import os; os.fchmod(os.open('grandchild', os.O_CREAT | os.O_WRONLY, 0o666), 0o666)"
subprocess.run([sys.executable, "-c", code], check=True)
"""
    child = python(source)
    child.start()
    assert child.wait(HANG_S) == 0
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"plain": 0o600, "opened": 0o600, "closed": 0o400, "folder": 0o700, "grandchild": 0o600}


def test_the_limit_of_open_files_is_raised_and_children_have_it() -> None:
    code = (
        "import resource, subprocess, sys\n"
        "from qwen_triton_build.processes import raise_descriptor_limit\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "raise_descriptor_limit()\n"
        "print(min(hard, 1 << 20), flush=True)\n"
        "subprocess.run(['sh', '-c', 'ulimit -Sn'])\n"
    )
    expected, found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == expected


def test_a_child_may_have_a_larger_stack(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = ChildProcess(["sh", "-c", "ulimit -Ss"], os.environ, stack_bytes=64 << 20)
        child.start(output.fileno())
        assert child.wait(HANG_S) == 0
    assert log.read_text().strip() == "unlimited" or int(log.read_text()) >= 65_536
