#!/bin/sh
# Writes ENVIRONMENT/bin/vllm-python: this image's own Python, which has vLLM, for the process of a `kind: vllm` engine.
# Of the environment's packages it gets msgpack alone, the only one that the engine's process needs besides vLLM.
# usage: write_engine_python.sh ENVIRONMENT
set -eu
environment=$1
python=$(command -v python3)
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$environment/engine"
cp -r "$packages/msgpack" "$environment/engine/"
cat > "$environment/bin/vllm-python" <<EOF
#!/bin/sh
export PYTHONPATH="\${PYTHONPATH:+\$PYTHONPATH:}$environment/engine" LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}"
exec $python "\$@"
EOF
chmod 755 "$environment/bin/vllm-python"
"$environment/bin/vllm-python" -c 'import msgpack; from importlib.metadata import version; print("vllm", version("vllm"))'
