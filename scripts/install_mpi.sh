#!/bin/sh
# Installs Open MPI's mpirun (Debian, Ubuntu: openmpi-bin, some 40 MB) for engines of several ranks. usage: install_mpi.sh
# Does nothing where mpirun is there already. Exit code 3 where it cannot install: no root, or no apt-get.
set -eu
command -v mpirun >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "install_mpi.sh: needs root and apt-get; install Open MPI by hand" >&2; exit 3; }
echo "installing openmpi-bin"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openmpi-bin >/dev/null
