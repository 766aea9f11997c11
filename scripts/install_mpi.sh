#!/bin/sh
# Installs Open MPI's mpirun (Debian, Ubuntu: openmpi-bin, about 40 MB), which starts engines with several ranks.
# usage: install_mpi.sh      Does nothing when mpirun is installed. Exit code 3 without root or apt-get.
set -eu
command -v mpirun >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "install_mpi.sh: needs root and apt-get; install Open MPI by hand" >&2; exit 3; }
echo "installing openmpi-bin for engines with several ranks (about 40 MB, once)"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openmpi-bin >/dev/null
