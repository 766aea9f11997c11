"""Fills config.pbtxt files by the rules of stock's fill_template.py.

Pairs are split at commas, key and value at the colon; unnamed placeholders stay `${…}`; max_queue_size is 0 unless named.
Until 0.15 there is no escape and unknown keys pass silently; from 0.16 a backslash escapes `,` `:` and itself; from 0.19
each key must occur in the file.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping
from pathlib import Path


def fill_template(file: Path, substitutions: str, *, escapes: bool = False, asserts: bool = False) -> None:
    """One call of the script with -i."""
    text = file.read_text(encoding="utf-8")
    values = _pairs(substitutions, escapes)
    if asserts:
        missing = [key for key in values if key not in text]
        assert not missing, f"key '{missing[0]}' does not exist in the file {file}"
    file.write_text(string.Template(text).safe_substitute({"max_queue_size": "0"} | values), encoding="utf-8")


def _pairs(substitutions: str, escapes: bool) -> dict[str, str]:
    comma, colon = (r"(?<!\\),", r"(?<!\\):") if escapes else (",", ":")
    pairs = (re.split(colon, pair) for pair in re.split(comma, substitutions))
    return {key: re.sub(r"\\([,:\\])", r"\1", value) if escapes else value for key, value in pairs}


def run_commands(commands: str, variables: Mapping[str, str]) -> None:
    """Lines `python3 ${FILL_TEMPLATE_SCRIPT} -i FILE SUBSTITUTIONS`, with `${NAME}` from NAME=value lines or `variables`."""
    shell: dict[str, str] = {}
    for line in commands.splitlines():
        words = shlex.split(string.Template(line).safe_substitute({**shell, **variables}), comments=True)
        if len(words) == 1 and "=" in words[0]:
            name, value = words[0].split("=", 1)
            shell[name] = value
        elif words:
            assert (words[0], words[2], len(words)) == ("python3", "-i", 5), line
            fill_template(Path(words[3]), words[4])


PLAIN = """
TRITON_MAX_BATCH_SIZE=4
INSTANCE_COUNT=1
MAX_QUEUE_DELAY_MS=0
MAX_QUEUE_SIZE=0
FILL_TEMPLATE_SCRIPT=/tensorrtllm_backend/tools/fill_template.py
DECOUPLED_MODE=false

python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/ensemble/config.pbtxt triton_max_batch_size:${TRITON_MAX_BATCH_SIZE}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/preprocessing/config.pbtxt tokenizer_dir:${TOKENIZER_DIR},triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},preprocessing_instance_count:${INSTANCE_COUNT}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/tensorrt_llm/config.pbtxt triton_backend:tensorrtllm,triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},decoupled_mode:${DECOUPLED_MODE},engine_dir:${ENGINE_DIR},max_queue_delay_microseconds:${MAX_QUEUE_DELAY_MS},batching_strategy:inflight_fused_batching,max_queue_size:${MAX_QUEUE_SIZE}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/postprocessing/config.pbtxt tokenizer_dir:${TOKENIZER_DIR},triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},postprocessing_instance_count:${INSTANCE_COUNT},max_queue_size:${MAX_QUEUE_SIZE}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/tensorrt_llm_bls/config.pbtxt triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},decoupled_mode:${DECOUPLED_MODE},bls_instance_count:${INSTANCE_COUNT}
"""  # noqa: E501  as users run them
"""The commands that the blog gives for its plain build."""

OPTIMISED = """
TRITON_MAX_BATCH_SIZE=64
INSTANCE_COUNT=1
MAX_QUEUE_DELAY_MS=0
MAX_QUEUE_SIZE=0
FILL_TEMPLATE_SCRIPT=/tensorrtllm_backend/tools/fill_template.py
DECOUPLED_MODE=false
ACCUMULATE_TOKENS=true
MAX_BEAM_WIDTH=1
EXCLUDE_INPUT_IN_OUTPUT=true
ENABLE_KV_CACHE_REUSE=false

python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/ensemble/config.pbtxt triton_max_batch_size:${TRITON_MAX_BATCH_SIZE}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/preprocessing/config.pbtxt tokenizer_dir:${TOKENIZER_DIR},triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},preprocessing_instance_count:${INSTANCE_COUNT}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/postprocessing/config.pbtxt tokenizer_dir:${TOKENIZER_DIR},triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},postprocessing_instance_count:${INSTANCE_COUNT},max_queue_size:${MAX_QUEUE_SIZE}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/tensorrt_llm_bls/config.pbtxt triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},decoupled_mode:${DECOUPLED_MODE},bls_instance_count:${INSTANCE_COUNT},accumulate_tokens:${ACCUMULATE_TOKENS}
python3 ${FILL_TEMPLATE_SCRIPT} -i ${MODEL_FOLDER}/tensorrt_llm/config.pbtxt triton_backend:tensorrtllm,triton_max_batch_size:${TRITON_MAX_BATCH_SIZE},decoupled_mode:${DECOUPLED_MODE},engine_dir:${ENGINE_DIR},max_queue_delay_microseconds:${MAX_QUEUE_DELAY_MS},batching_strategy:inflight_fused_batching,max_queue_size:${MAX_QUEUE_SIZE},max_beam_width:${MAX_BEAM_WIDTH},exclude_input_in_output:${EXCLUDE_INPUT_IN_OUTPUT},enable_kv_cache_reuse:${ENABLE_KV_CACHE_REUSE}
"""  # noqa: E501  as users run them
"""The commands that the blog gives for its optimised build."""
