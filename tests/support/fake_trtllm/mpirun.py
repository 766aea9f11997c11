"""`mpirun -n N --allow-run-as-root COMMAND…` on one machine: N processes with their ranks; fails when one does."""

from __future__ import annotations

import os
import subprocess
import sys


def main(words: list[str]) -> int:
    option, number, as_root, *command = words
    assert (option, as_root) == ("-n", "--allow-run-as-root")
    size = int(number)
    ranks = [{"OMPI_COMM_WORLD_RANK": str(r), "OMPI_COMM_WORLD_SIZE": number} for r in range(size)]
    running = [subprocess.Popen(command, env={**os.environ, **rank}) for rank in ranks]
    return max(process.wait() for process in running)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
