"""A small Qwen3 with seeded random weights and the demo checkpoint's tokenizer: python -m tests.gpu.random_qwen3 FOLDER"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tests.support.checkpoints import write_checkpoint
from tests.support.folders import ROOT

_DEMO = ROOT / "demo" / "checkpoint"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(_DEMO / name, folder)
    demo = json.loads((_DEMO / "config.json").read_text())
    ends = {name: demo[name] for name in ("vocab_size", "bos_token_id", "eos_token_id")}
    write_checkpoint(folder, "qwen3-tied-bf16", head_dim=64, num_attention_heads=2, num_key_value_heads=2, **ends)


if __name__ == "__main__":
    main()
