# Three images; `make image` builds them. Documentation: docs/from-checkpoint-to-image.md.
#
#   trtllm (default)  NVIDIA's Triton with TensorRT-LLM; qwen-triton in a separate environment, NVIDIA's packages unchanged
#   vllm              vLLM's own image; qwen-triton and tritonserver in a separate environment, vLLM's packages unchanged
#   cpu               slim Python, tritonserver from PyPI, the CPU engine and the demo checkpoint: runs on any machine
#
# Engines and models are mounted at /engines and /models, or included with --build-arg BAKE=FOLDER: a folder of the build
# context (.dockerignore admits bake/) copied to /, with any of engines/, models/ and etc/qwen-triton/deployment.yaml.

ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:24.10-trtllm-python-py3
ARG VLLM_IMAGE=docker.io/vllm/vllm-openai:v0.33.0
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# ---- sources, the same for all images
FROM ${PYTHON_IMAGE} AS source
WORKDIR /src
COPY pyproject.toml LICENSE README.md ./
COPY requirements requirements
COPY scripts/make_image_environment.sh scripts/write_engine_python.sh scripts/
COPY backend_src backend_src
COPY build_scripts build_scripts
COPY client client
COPY model_repository model_repository

FROM ${PYTHON_IMAGE} AS cpu-environment
COPY --from=source /src /src
RUN sh /src/scripts/make_image_environment.sh /opt/qwen-triton /src openvino,build,shim server

# A separate environment, because NVIDIA's Python has packages that TensorRT-LLM pins.
FROM ${TRITON_IMAGE} AS trtllm-environment
COPY --from=source /src /src
RUN sh /src/scripts/make_image_environment.sh /opt/qwen-triton /src build,shim \
 && if python3 -c 'from importlib.metadata import version; version("tensorrt_llm")' 2> /dev/null; then \
      sh /src/scripts/write_engine_python.sh /opt/qwen-triton trtllm-python tensorrt_llm; fi

# vLLM needs another numpy than Triton's stub. An image of Triton with vLLM has its server; vLLM's own image has none.
FROM ${VLLM_IMAGE} AS vllm-environment
COPY --from=source /src /src
RUN sh /src/scripts/make_image_environment.sh /opt/qwen-triton /src build,shim "$(test -d /opt/tritonserver || echo server)" \
 && sh /src/scripts/write_engine_python.sh /opt/qwen-triton vllm-python vllm

FROM ${PYTHON_IMAGE} AS cpu
ARG DEMO=demo/checkpoint
LABEL org.opencontainers.image.title="qwen-triton-cpu" \
      org.opencontainers.image.description="Qwen on NVIDIA Triton without a GPU: embedded engine, demo checkpoint, OpenAI API" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin qwen
COPY --from=cpu-environment /opt/qwen-triton /opt/qwen-triton
COPY ${DEMO} /models/demo
COPY deploy/image/cpu.yaml /etc/qwen-triton/deployment.yaml
ENV PATH=/opt/qwen-triton/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=120s \
  CMD ["qwen-triton", "health", "/etc/qwen-triton/deployment.yaml"]
ENTRYPOINT ["qwen-triton"]
CMD ["serve", "/etc/qwen-triton/deployment.yaml", "--log", "-"]

FROM ${VLLM_IMAGE} AS vllm
ARG BAKE=deploy/image/nothing-baked
LABEL org.opencontainers.image.title="qwen-triton-vllm" \
      org.opencontainers.image.description="Qwen on NVIDIA Triton with vLLM as the engine: exact streams, OpenAI API" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /cache --shell /usr/sbin/nologin qwen && install -d -o qwen /cache
COPY --from=vllm-environment /opt/qwen-triton /opt/qwen-triton
COPY deploy/image/vllm.yaml /etc/qwen-triton/deployment.yaml
COPY ${BAKE}/ /
# Compiled kernels and graphs are kept in /cache: a volume, because code is loaded from it and it is worth keeping.
ENV PATH=/opt/qwen-triton/bin:${PATH} HOME=/cache TORCHINDUCTOR_CACHE_DIR=/cache/torchinductor TRITON_CACHE_DIR=/cache/triton \
    PYTHONDONTWRITEBYTECODE=1 VLLM_NO_USAGE_STATS=1
VOLUME /cache
WORKDIR /cache
USER 10001
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=900s \
  CMD ["qwen-triton", "health", "/etc/qwen-triton/deployment.yaml"]
ENTRYPOINT ["qwen-triton"]
CMD ["serve", "/etc/qwen-triton/deployment.yaml", "--log", "-"]

FROM ${TRITON_IMAGE} AS trtllm
ARG BAKE=deploy/image/nothing-baked
LABEL org.opencontainers.image.title="qwen-triton" \
      org.opencontainers.image.description="Qwen on NVIDIA Triton with TensorRT-LLM engines: exact streams, OpenAI API" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin qwen
COPY --from=trtllm-environment /opt/qwen-triton /opt/qwen-triton
COPY deploy/image/trtllm.yaml /etc/qwen-triton/deployment.yaml
COPY ${BAKE}/ /
ENV PATH=/opt/qwen-triton/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000 8001 8002 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=600s \
  CMD ["qwen-triton", "health", "/etc/qwen-triton/deployment.yaml"]
ENTRYPOINT ["qwen-triton"]
CMD ["serve", "/etc/qwen-triton/deployment.yaml", "--log", "-"]
