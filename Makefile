# On a new machine with Python 3.10 to 3.12: `make serve` and `make test`. `make help` lists the other targets.
PYTHON ?= python3
VENV ?= $(if $(filter-out python3,$(PYTHON)),.venv-$(notdir $(PYTHON)),.venv)
BIN := $(VENV)/bin
DEPLOYMENT ?= deployments/cpu.yaml
DEMO_OUT ?= build/demo-checkpoint
DEMO_MINUTES ?= 11
EACH ?= 50
ENGINE ?= $(notdir $(or $(shell command -v docker),$(shell command -v podman),docker))
FORMAT := $(if $(findstring podman,$(ENGINE)),--format docker)
BAKE ?= deploy/image/nothing-baked
# HTTP_PORT, GRPC_PORT, METRICS_PORT and OPENAI_PORT, in the environment or as `make serve HTTP_PORT=…`, override the
# deployment's ports. They have no default here, because a default would override the deployment too.

.DEFAULT_GOAL := help
.PHONY: help serve vllm test check demo-model eval-demo image test-image clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

serve: $(VENV)/serve ## set up and serve DEPLOYMENT (the demo checkpoint on the CPU) until Ctrl-C
	@exec $(BIN)/qwen-triton serve $(DEPLOYMENT)

vllm: ## install vLLM for GPUs into .venv-vllm, for deployments/vllm.yaml (several GB, CUDA 13, Python 3.11 or newer)
	scripts/make_vllm.sh $(PYTHON) .venv-vllm

test: $(VENV)/dev ## set up and run all tests, including live ones on a real tritonserver; PYTEST_ARGS=…
	@scripts/install_browser.sh || echo 'going on; the tests of pages will fail'
	@scripts/install_perf_analyzer.sh || echo 'going on; the tests of perf_analyzer and GenAI-Perf will fail'
	@scripts/install_mpi.sh || echo 'going on; the tests of several ranks will be skipped'
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/dev ## ruff, mypy, hadolint, and the rules of the project (tests/project)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest -q tests/project

image: ## build the images qwen-triton, qwen-triton-vllm (both for GPUs) and qwen-triton-cpu with ENGINE, docker or podman
	$(ENGINE) build $(FORMAT) --target trtllm --build-arg BAKE=$(BAKE) -t qwen-triton .
	$(ENGINE) build $(FORMAT) --target vllm --build-arg BAKE=$(BAKE) -t qwen-triton-vllm .
	$(ENGINE) build $(FORMAT) --target cpu -t qwen-triton-cpu .

test-image: $(VENV)/dev ## build the images, run them read-only and not as root, send requests, stop them (podman, root)
	tests/image/run.sh $(BIN)/python

PIP := $(BIN)/pip --disable-pip-version-check -qq install

$(VENV)/serve: pyproject.toml requirements/server.txt
	@scripts/phase.sh "creating $(VENV)" scripts/make_venv.sh $(PYTHON) $(VENV)
	@scripts/phase.sh "installing qwen-triton and the CPU engine" $(PIP) -e '.[openvino,build,shim,client]'
	@scripts/phase.sh "installing tritonserver (150 MB)" $(PIP) --no-deps -r requirements/server.txt
	@touch $@

$(VENV)/dev: $(VENV)/serve
	@scripts/phase.sh "installing the tools for tests and checks" $(PIP) -e '.[openvino,build,shim,client,otel,bench,dev]'
	@touch $@

demo-model: $(VENV)/serve ## train a new demo checkpoint into DEMO_OUT for DEMO_MINUTES (on a GPU if there is one)
	$(BIN)/pip install -q -r demo/requirements.txt
	$(BIN)/python -m demo.train $(DEMO_OUT) --minutes $(DEMO_MINUTES)

eval-demo: $(VENV)/serve ## evaluate the demo checkpoint through a real server: EACH held-out prompts per task
	@$(BIN)/python -m demo.evaluate --each $(EACH)

clean: ## remove the environment and caches of this folder
	rm -rf $(VENV) .venv-* .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
