# Two images from one file. `make image` builds; docs/from-checkpoint-to-image.md is the page that goes with it.
#
#   trtllm (default)  NVIDIA's Triton with TensorRT-LLM; ours in an environment of its own, NVIDIA's packages untouched
#   cpu               slim Python, tritonserver from PyPI, the embedded engine and the demo checkpoint: runs anywhere
#
# Engines and models are mounted (/engines, /models), or baked in: --build-arg ENGINE_FOLDER=… (see `engine` below).

ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:24.10-trtllm-python-py3
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# ---- an environment of our own on the CPU image's Python
FROM ${PYTHON_IMAGE} AS cpu-environment
COPY requirements/server.txt /src/requirements/
COPY pyproject.toml README.md LICENSE /src/
COPY backend_src /src/backend_src
COPY build_scripts /src/build_scripts
COPY client /src/client
COPY model_repository /src/model_repository
COPY scripts/trim_environment.sh /src/scripts/
RUN python3 -m venv /opt/qwen-triton \
 && /opt/qwen-triton/bin/pip install --no-cache-dir --no-deps -r /src/requirements/server.txt \
 && /opt/qwen-triton/bin/pip install --no-cache-dir "/src[openvino,build,shim]" \
 && sh /src/scripts/trim_environment.sh /opt/qwen-triton

# ---- the same on NVIDIA's Python, which has TensorRT-LLM's pinned packages: ours must not mix with them
FROM ${TRITON_IMAGE} AS trtllm-environment
COPY pyproject.toml README.md LICENSE /src/
COPY backend_src /src/backend_src
COPY build_scripts /src/build_scripts
COPY client /src/client
COPY model_repository /src/model_repository
COPY scripts/trim_environment.sh /src/scripts/
RUN { python3 -m venv /opt/qwen-triton || { python3 -m pip install --no-cache-dir virtualenv && python3 -m virtualenv /opt/qwen-triton; }; } \
 && /opt/qwen-triton/bin/pip install --no-cache-dir "/src[build,shim]" \
 && sh /src/scripts/trim_environment.sh /opt/qwen-triton

# ---- cpu: `docker run IMAGE` serves the demo at once
FROM ${PYTHON_IMAGE} AS cpu
LABEL org.opencontainers.image.title="qwen-triton (cpu)" \
      org.opencontainers.image.description="Qwen on NVIDIA Triton without a GPU: embedded engine, demo checkpoint, OpenAI API" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home --home-dir /home/qwen --shell /usr/sbin/nologin qwen
COPY --from=cpu-environment /opt/qwen-triton /opt/qwen-triton
COPY demo/checkpoint /models/demo
COPY deploy/image/cpu.yaml /etc/qwen-triton/deployment.yaml
ENV PATH=/opt/qwen-triton/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    DEPLOYMENT=/etc/qwen-triton/deployment.yaml
USER 10001
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=120s --retries=3 CMD ["qwen-triton", "health"]
ENTRYPOINT ["qwen-triton"]
CMD ["serve", "--log", "-"]
