#!/usr/bin/env bash
# Base images for a machine without an image registry: stand-ins under the true names, from this machine's own packages.
#
#   source tests/image/standin_images.sh FOLDER      root, Debian 12 or Ubuntu 22.04; some 80 s cold, 1 s warm
#
# Afterwards, in this shell, podman works on images in FOLDER. The stand-in of NVIDIA's image carries the same tritonserver
# release without TensorRT-LLM. The images carry this machine's own pip settings and certificates: for tests only, never to
# be published. Where the true images are in podman's own storage already, source nothing and build.
# Exit codes of the functions: 3 = cannot run here (no root, no apt-get, no network), with the reason on stderr.

_standin=${1:?folder}
_debian=docker.io/library/debian:bookworm-slim
_python=docker.io/library/python:3.11-slim-bookworm
_triton=nvcr.io/nvidia/tritonserver:24.10-trtllm-python-py3

_cannot() { echo "image tests cannot run here: $*" >&2; return 3; }

install_podman() {
  local tool
  for tool in podman runc debootstrap; do command -v $tool >/dev/null || break; done && command -v debootstrap >/dev/null \
    && command -v runc >/dev/null && command -v podman >/dev/null && return 0
  [ "$(id -u)" = 0 ] || { _cannot "podman is not installed and installing needs root"; return 3; }
  command -v apt-get >/dev/null || { _cannot "podman is not installed and there is no apt-get"; return 3; }
  apt-get update -qq >/dev/null 2>&1
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman runc debootstrap catatonit \
    >"$_standin/apt.log" 2>&1 || { _cannot "apt-get cannot install podman: $(tail -n 1 "$_standin/apt.log")"; return 3; }
}

configure_podman() {
  mkdir -p "$_standin"/{store,run,base}
  cat > "$_standin/storage.conf" <<X
[storage]
driver = "overlay"
graphroot = "$_standin/store"
runroot = "$_standin/run"
X
  cat > "$_standin/containers.conf" <<X
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
X
  export CONTAINERS_STORAGE_CONF=$_standin/storage.conf CONTAINERS_CONF=$_standin/containers.conf
}

make_debian() {
  podman image exists $_debian && return 0
  local mirror root=$_standin/base/rootfs
  mirror=$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)
  rm -rf "$root"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$_standin/debootstrap.log" 2>&1 \
    || { _cannot "debootstrap failed: $(tail -n 1 "$_standin/debootstrap.log")"; return 3; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,info,locale}/*  # as the slim ones
  tar -C "$root" --numeric-owner -cf "$_standin/base/rootfs.tar" . && rm -rf "$root"
  podman import -q --change 'CMD ["bash"]' "$_standin/base/rootfs.tar" $_debian >/dev/null && rm "$_standin/base/rootfs.tar"
}

# The official image's layout: Python under /usr/local. This machine's python3.11 is copied there.
make_python() {
  podman image exists $_python && return 0
  local prefix base=$_standin/base
  prefix=$(python3.11 -c 'import sys; print(sys.base_prefix)') || { _cannot "no python3.11 to copy"; return 3; }
  [ -e "$prefix/lib/libpython3.11.so.1.0" ] || { _cannot "python3.11 in $prefix has no shared libpython"; return 3; }
  tar -C "$prefix" --exclude=__pycache__ --exclude='lib/python3.11/site-packages/*' --exclude=lib/python3.11/test \
    --exclude='*.a' --exclude='lib/python3.11/config-3.11*' -cf "$base/python.tar" \
    bin/python3.11 lib/libpython3.11.so.1.0 lib/python3.11
  cp /etc/ssl/certs/ca-certificates.crt "$base/ca.crt"
  pip_settings > "$base/pip.conf"
  cat > "$base/Dockerfile.python" <<X
FROM $_debian
COPY ca.crt /etc/standin-ca.crt
COPY pip.conf /etc/pip.conf
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends netbase tzdata libssl3 libsqlite3-0 libffi8 \
    libbz2-1.0 liblzma5 libreadline8 zlib1g libexpat1 libuuid1 libncursesw6 libcrypt1 libnsl2 libtirpc3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
ADD python.tar /usr/local/
RUN ldconfig && ln -sf python3.11 /usr/local/bin/python3 && ln -sf python3 /usr/local/bin/python \
 && python3 -m ensurepip >/dev/null && ln -sf pip3 /usr/local/bin/pip
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
X
  build_base Dockerfile.python $_python && rm "$base/python.tar"
}

# What pip on this machine is told, so that a build reaches what this machine reaches; certificates by the path in the image.
pip_settings() {
  echo '[global]'
  echo 'cert = /etc/standin-ca.crt'
  echo 'disable-pip-version-check = true'
  echo 'root-user-action = ignore'
  python3 -m pip config list 2>/dev/null | sed -n "s/^\(global\|:env:\)\.\(index-url\|trusted-host\)='\([^ ]*\)'$/\2 = \3/p"
}

make_triton() {
  podman image exists $_triton && return 0
  cat > "$_standin/base/Dockerfile.triton" <<X
FROM $_python
RUN pip install --no-deps nvidia-pytriton==0.7.0 && pip install 'numpy<2' \
 && t=\$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/pytriton/tritonserver \
 && cp \$t/python_backend_stubs/3.11/triton_python_backend_stub \$t/backends/python/ \
 && chmod a+x \$t/bin/tritonserver \$t/backends/python/* \
 && mkdir -p /opt/tritonserver && ln -s \$t/bin \$t/backends \$t/caches /opt/tritonserver/
ENV LD_LIBRARY_PATH=/usr/local/lib/python3.11/site-packages/nvidia_pytriton.libs:/usr/local/lib \
    PATH=/opt/tritonserver/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    TRITON_SERVER_VERSION=2.51.0 NVIDIA_TRITON_SERVER_VERSION=24.10
X
  build_base Dockerfile.triton $_triton
}

build_base() {
  podman build -q --pull=never --network host --format docker -f "$_standin/base/$1" -t "$2" "$_standin/base" \
    >"$_standin/build.log" 2>&1 || { _cannot "the stand-in $2 cannot be built: $(tail -n 1 "$_standin/build.log")"; return 3; }
}

runs_containers() {
  podman run --rm --network=host $_debian true >"$_standin/run.log" 2>&1 \
    || { _cannot "podman cannot run a container: $(tail -n 1 "$_standin/run.log")"; return 3; }
}

mkdir -p "$_standin" && install_podman && configure_podman && make_debian && make_python && make_triton
