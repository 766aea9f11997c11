#!/bin/sh
# Writes ENVIRONMENT/bin/NAME: this image's own Python, which has LIBRARY, for the process of an engine that needs it.
# Of the environment's packages it gets msgpack alone, the only one that the engine's process needs besides the library.
# usage: write_engine_python.sh ENVIRONMENT NAME LIBRARY        vllm-python vllm, or trtllm-python tensorrt_llm
set -eu
environment=$1
program=$environment/bin/$2
library=$3
python=$(command -v python3)
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$environment/engine"
cp -r "$packages/msgpack" "$environment/engine/"
cat > "$program" <<EOF
#!/bin/sh
export PYTHONPATH="\${PYTHONPATH:+\$PYTHONPATH:}$environment/engine" LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}"
exec $python "\$@"
EOF
chmod 755 "$program"
"$program" -c "import msgpack; from importlib.metadata import version; print('$library', version('$library'))"
